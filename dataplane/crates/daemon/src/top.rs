//! `wirelane top`: the counters of a running gateway as rates, live in a terminal.

mod rates;
mod screen;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::control;
use rates::{Counters, Rates};

/// How often the keyboard and the signals are looked at.
const KEYBOARD_INTERVAL: Duration = Duration::from_millis(100);

/// Shows the gateway at `path` until q, Ctrl-C or a signal. The error says that the gateway is gone, or why it cannot
/// be shown; the terminal is restored in every case.
pub fn run(path: &Path, interval: Duration) -> Result<(), String> {
    if !std::io::stdout().is_terminal() {
        return Err("top needs a terminal; for pipes and scripts there is `wirelane stats --json`".to_owned());
    }
    let first = Counters::ask(path)?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))
            .map_err(|error| format!("cannot watch for signals: {error}"))?;
    }
    // Also restores the terminal when the program panics.
    let mut terminal = ratatui::try_init().map_err(|error| format!("cannot use this terminal: {error}"))?;
    let result = show(&mut terminal, path, interval, first, &ended);
    ratatui::restore();
    result
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    path: &Path,
    interval: Duration,
    first: Counters,
    ended: &AtomicBool,
) -> Result<(), String> {
    let mut rates = Rates::between(None, &first);
    let mut before = first;
    let mut next = Instant::now() + interval;
    loop {
        let title = path.display().to_string();
        terminal
            .draw(|frame| screen::draw(frame, &rates, &title))
            .map_err(|error| format!("cannot draw on this terminal: {error}"))?;
        if wait_for_quit(next, ended)? {
            return Ok(());
        }
        if Instant::now() >= next {
            next = Instant::now() + interval;
            let now = Counters::ask(path).map_err(|error| format!("the gateway has gone: {error}"))?;
            rates = Rates::between(Some(&before), &now);
            before = now;
        }
    }
}

/// Until `end`, or something that wants the screen drawn anew. True: the user wants to leave.
fn wait_for_quit(end: Instant, ended: &AtomicBool) -> Result<bool, String> {
    let failed = |error: std::io::Error| format!("cannot read this terminal: {error}");
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let has_event = match event::poll(left.min(KEYBOARD_INTERVAL)) {
            Ok(has_event) => has_event,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => false,
            Err(error) => return Err(failed(error)),
        };
        if ended.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if has_event {
            match event::read().map_err(failed)? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    if is_ctrl_c || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc) {
                        return Ok(true);
                    }
                }
                Event::Resize(..) => return Ok(false),
                _ => {}
            }
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

impl Counters {
    fn ask(path: &Path) -> Result<Self, String> {
        let reply = control::stats(path)?;
        Self::parse(reply, Instant::now()).map_err(|error| format!("{}: {error}", path.display()))
    }
}
