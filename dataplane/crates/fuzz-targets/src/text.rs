//! Text from outside: the UAPI, the configuration file, and the words that both are made of.

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wirelane_daemon::config::{Gateway, InterfaceAddress, InterfaceName};
use wirelane_daemon::control_request::Request as ControlRequest;
use wirelane_daemon::uapi::{self as uapi_text, Request};
use wirelane_engine::Tuning;
use wirelane_io::CpuSet;
use wirelane_protocol::{Device, Prefix, PrivateKey, PublicKey, Time, Timings};

fn device() -> (Device, Time) {
    let now = Time { monotonic: Duration::from_secs(1).into(), unix: Duration::from_secs(1) };
    (Device::new(Box::new(ChaCha20Rng::seed_from_u64(1)), Timings::default(), now), now)
}

/// The configuration of a device as a `set=1` request.
fn as_request(device: &Device) -> String {
    let shown = uapi_text::device_text(&device.snapshot());
    let is_state = |line: &&str| ["last_handshake_time", "tx_bytes", "rx_bytes"].iter().any(|s| line.starts_with(s));
    let lines = shown.lines().filter(|line| !is_state(line)).map(|line| format!("{line}\n"));
    format!("set=1\n{}\n", lines.collect::<String>())
}

/// Requests of any content: each is refused or applied, and what a device then shows is a request that makes another
/// device the same.
pub fn uapi(mut data: &[u8]) {
    let (mut first, now) = device();
    // An I/O error ends the connection.
    while let Ok(Some(request)) = uapi_text::read_request(&mut data) {
        match request {
            Ok(Request::Set(change)) => first.apply(*change, now),
            Ok(Request::Get) => {}
            Err(refusal) => assert!(refusal.errno > 0 && !refusal.why.is_empty()),
        }
    }
    let shown = as_request(&first);
    let Ok(Some(Ok(Request::Set(change)))) = uapi_text::read_request(&mut shown.as_bytes()) else {
        panic!("what get=1 shows is not understood by set=1: {shown}");
    };
    let (mut second, _) = device();
    second.apply(*change, now);
    assert_eq!(as_request(&second), shown);
}

/// Any configuration file is refused in words, or describes a gateway that can be tuned.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Gateway::parse(text) {
        Ok(gateway) => {
            assert!(!gateway.lanes.is_empty() && gateway.lanes.len() <= wirelane_daemon::config::MAX_LANES);
            let tuning = gateway.tuning(&Tuning::default());
            assert!((1..=wirelane_engine::MAX_BATCH_PACKETS).contains(&tuning.batch_packets));
            assert!((1..=wirelane_engine::MAX_CRYPTO_WORKERS).contains(&tuning.crypto_workers));
        }
        Err(why) => assert!(!why.trim().is_empty()),
    }
}

/// A line of the control socket is refused in words, or is a request that reads back the same; the configuration in it
/// is held to what holds for a file.
pub fn control(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else { return };
    match ControlRequest::parse(line) {
        Ok(request) => {
            assert_eq!(ControlRequest::parse(&request.to_line()).as_ref(), Ok(&request));
            assert!(!request.to_line().contains('\n'), "one request a line");
            if let ControlRequest::Apply(wanted) = request {
                config(wanted.config.as_bytes());
            }
        }
        Err(why) => assert!(!why.trim().is_empty()),
    }
}

/// What is parsed shows itself in a form that is parsed to the same.
fn round_trips<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(&value));
    }
}

/// Keys, prefixes, CPU lists, names.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    round_trips::<Prefix>(text);
    round_trips::<CpuSet>(text);
    round_trips::<InterfaceAddress>(text);
    if let Ok(name) = text.parse::<InterfaceName>() {
        assert!(name.as_str() == text && text.len() < 16 && !text.contains(['/', ' ', '\n', '%', ';']));
    }
    for key in [PublicKey::from_base64(text), PublicKey::from_hex(text)].into_iter().flatten() {
        assert!(PublicKey::from_base64(&key.to_base64()) == Ok(key) && PublicKey::from_hex(&key.to_hex()) == Ok(key));
    }
    for key in [PrivateKey::from_base64(text), PrivateKey::from_hex(text)].into_iter().flatten() {
        assert!(PrivateKey::from_base64(&key.to_base64()).as_ref() == Ok(&key), "clamping is idempotent");
    }
}
