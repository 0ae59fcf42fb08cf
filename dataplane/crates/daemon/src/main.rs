//! The `wirelane` program.
#![forbid(unsafe_code)]

mod cli;
mod control;
mod doctor;
mod foreground;
mod gateway;
mod keys;
mod listener;
mod logger;
mod metrics;
mod network;
mod privileges;
mod reconfigure;
mod termination;
mod top;
mod uapi_socket;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};

use cli::{Cli, Command, ControlArgs};
use wirelane_daemon::config::{self, Gateway};
use wirelane_daemon::uapi;
use wirelane_engine::BackendChoice;

fn main() -> ExitCode {
    logger::start();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // When standard error is closed, the exit code has to do.
            let _ = writeln!(std::io::stderr(), "wirelane: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    match cli.command {
        Some(Command::Run { config, machine }) => {
            privileges::forbid_core_dumps()?;
            let gateway = Gateway::read(&config)?;
            gateway::run(gateway, machine.tuning())
        }
        Some(Command::Stats(args)) => show(&args, control::stats),
        Some(Command::Placement(args)) => show(&args, control::threads),
        Some(Command::Apply { control, config, dry_run }) => control::apply(&control, &config, dry_run),
        Some(Command::Top { control, interval_s }) => top::run(&control, interval_s),
        Some(Command::Check { config }) => {
            let gateway = Gateway::read(&config)?;
            gateway::check_key_files(&gateway)?;
            print(&format!("{}: {} lanes, {} mode: valid\n", config.display(), gateway.lanes.len(), gateway.mode))
        }
        Some(Command::AeadRate { aead, packet_bytes, json }) => print(&aead_rate(aead, packet_bytes, json)?),
        Some(Command::Doctor { json }) => print(&doctor::report(json)?),
        None => match cli.interface {
            Some(interface) => {
                let tuning = cli.tuning.tuning()?;
                privileges::forbid_core_dumps()?;
                if cli.foreground {
                    foreground::run(&interface, &tuning)
                } else {
                    foreground::run_in_background(std::env::args_os().skip(1))
                }
            }
            None => {
                Cli::command().print_help().map_err(|error| format!("cannot write: {error}"))?;
                Err("an interface name or a command is needed".to_owned())
            }
        },
    }
}

fn aead_rate(choice: BackendChoice, packet_bytes: u16, as_json: bool) -> Result<String, String> {
    let rate = wirelane_engine::aead_rate(choice, packet_bytes.into()).map_err(|error| error.to_string())?;
    let (backend, gbit_per_s) = (rate.backend.to_string(), rate.gbytes_per_s * 8.0);
    Ok(if as_json {
        format!("{}\n", json!({"backend": backend, "packet_bytes": packet_bytes, "gbit_per_s": gbit_per_s}))
    } else {
        format!("{gbit_per_s:.1} Gbit/s a CPU in packets of {packet_bytes} bytes, {backend}\n")
    })
}

fn show(args: &ControlArgs, ask: fn(&Path) -> Result<Value, String>) -> Result<(), String> {
    let reply = ask(&args.control)?;
    if let Some(error) = reply.get("error") {
        return Err(error.to_string());
    }
    print(&if args.json { format!("{reply}\n") } else { control::for_people(&reply) })
}

fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write: {error}"))
}
