//! From two readings of the counters to rates.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

/// What `{"get":"stats"}` tells, as far as it is shown, and when it was asked.
#[derive(Debug)]
pub struct Counters {
    lanes: Vec<Lane>,
    bond: Option<Bond>,
    at: Instant,
}

#[derive(Debug, Deserialize)]
struct Answer {
    lanes: Vec<Lane>,
    bond: Option<Bond>,
}

/// The device of a bond.
#[derive(Debug, Deserialize)]
struct Bond {
    drops: BTreeMap<String, u64>,
    threads: Vec<Thread>,
}

#[derive(Debug, Deserialize)]
struct Lane {
    interface: String,
    mode: String,
    aead: String,
    tx: Flow,
    rx: Flow,
    handshakes: u64,
    queues: BTreeMap<String, u64>,
    drops: BTreeMap<String, u64>,
    threads: Vec<Thread>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Flow {
    packets: u64,
    bytes: u64,
    batches: u64,
}

#[derive(Debug, Deserialize)]
struct Thread {
    name: String,
    tid: i64,
    stage: String,
    cpu_s: f64,
    tx: Flow,
    rx: Flow,
}

impl Counters {
    /// The answer of a gateway, read at `at`.
    pub fn parse(reply: Value, at: Instant) -> Result<Self, String> {
        let answer: Answer = serde_json::from_value(reply)
            .map_err(|error| format!("not the counters of this version of wirelane: {error}"))?;
        Ok(Self { lanes: answer.lanes, bond: answer.bond, at })
    }
}

/// One way of a lane or thread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FlowRates {
    pub bits_per_s: f64,
    pub packets_per_s: f64,
    /// Mean packets of a batch; 0 when there was none.
    pub batch_packets: f64,
}

/// A lane, or the sum of all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaneRates {
    pub name: String,
    pub mode: String,
    pub aead: String,
    pub tx: FlowRates,
    pub rx: FlowRates,
    /// CPU time of its threads over time, in percent of one CPU.
    pub cpu_percent: f64,
    /// Batches and handshake messages that wait.
    pub waiting: u64,
    pub handshakes: u64,
    pub drops_per_s: f64,
}

/// A thread of a lane.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadRates {
    pub name: String,
    pub stage: String,
    pub cpu_percent: f64,
    pub packets_per_s: f64,
    pub batch_packets: f64,
}

/// Drops of one reason on all lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct DropRates {
    pub reason: String,
    pub total: u64,
    pub per_s: f64,
}

/// All that the screen shows.
#[derive(Debug)]
pub struct Rates {
    pub lanes: Vec<LaneRates>,
    pub total: LaneRates,
    pub threads: Vec<ThreadRates>,
    pub drops: Vec<DropRates>,
}

impl Rates {
    /// Rates from `before` to `now`; without `before` all rates are 0.
    pub fn between(before: Option<&Counters>, now: &Counters) -> Self {
        let seconds = before.map_or(0.0, |before| (now.at - before.at).as_secs_f64());
        let mut lanes = Vec::new();
        let mut threads = Vec::new();
        let mut drops: BTreeMap<String, (u64, f64)> = BTreeMap::new();
        let mut add_drops = |before: Option<&BTreeMap<String, u64>>, now: &'_ BTreeMap<String, u64>| {
            for (reason, packets) in now {
                let earlier = before.and_then(|before| before.get(reason)).copied().unwrap_or(*packets);
                let sum = drops.entry(reason.clone()).or_default();
                *sum = (sum.0 + packets, sum.1 + per_second(packets.saturating_sub(earlier), seconds));
            }
        };
        for lane in &now.lanes {
            let old = before.and_then(|before| before.lanes.iter().find(|old| old.interface == lane.interface));
            let old_threads = old.map(|old| old.threads.as_slice()).unwrap_or_default();
            let of_threads: Vec<_> =
                lane.threads.iter().map(|thread| thread_rates(old_threads, thread, seconds)).collect();
            add_drops(old.map(|old| &old.drops), &lane.drops);
            lanes.push(lane_rates(old, lane, &of_threads, seconds));
            threads.extend(of_threads);
        }
        if let Some(bond) = &now.bond {
            let old = before.and_then(|before| before.bond.as_ref());
            let old_threads = old.map(|old| old.threads.as_slice()).unwrap_or_default();
            threads.splice(0..0, bond.threads.iter().map(|thread| thread_rates(old_threads, thread, seconds)));
            add_drops(old.map(|old| &old.drops), &bond.drops);
        }
        let drops = drops.into_iter().filter(|(_, (total, _))| *total > 0);
        let drops = drops.map(|(reason, (total, per_s))| DropRates { reason, total, per_s });
        Self { total: sum(&lanes), lanes, threads, drops: drops.collect() }
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// A counter that has become smaller belongs to a gateway that started anew: its rate is not known yet.
fn flow_rates(old: Flow, now: Flow, seconds: f64) -> FlowRates {
    let packets = now.packets.saturating_sub(old.packets);
    FlowRates {
        bits_per_s: 8.0 * per_second(now.bytes.saturating_sub(old.bytes), seconds),
        packets_per_s: per_second(packets, seconds),
        batch_packets: packets as f64 / now.batches.saturating_sub(old.batches).max(1) as f64,
    }
}

fn thread_rates(before: &[Thread], now: &Thread, seconds: f64) -> ThreadRates {
    let old = before.iter().find(|old| old.tid == now.tid).unwrap_or(now);
    let both = |thread: &Thread| Flow {
        packets: thread.tx.packets + thread.rx.packets,
        bytes: thread.tx.bytes + thread.rx.bytes,
        batches: thread.tx.batches + thread.rx.batches,
    };
    let flow = flow_rates(both(old), both(now), seconds);
    let busy_s = (now.cpu_s - old.cpu_s).max(0.0);
    ThreadRates {
        name: now.name.clone(),
        stage: now.stage.clone(),
        cpu_percent: if seconds > 0.0 { 100.0 * busy_s / seconds } else { 0.0 },
        packets_per_s: flow.packets_per_s,
        batch_packets: flow.batch_packets,
    }
}

fn lane_rates(old: Option<&Lane>, now: &Lane, threads: &[ThreadRates], seconds: f64) -> LaneRates {
    let old = old.unwrap_or(now);
    let dropped = |lane: &Lane| lane.drops.values().sum::<u64>();
    LaneRates {
        name: now.interface.clone(),
        mode: now.mode.clone(),
        aead: now.aead.clone(),
        tx: flow_rates(old.tx, now.tx, seconds),
        rx: flow_rates(old.rx, now.rx, seconds),
        cpu_percent: threads.iter().map(|thread| thread.cpu_percent).sum(),
        waiting: now.queues.iter().filter(|(name, _)| !name.ends_with("_bytes")).map(|(_, depth)| depth).sum(),
        handshakes: now.handshakes,
        drops_per_s: per_second(dropped(now).saturating_sub(dropped(old)), seconds),
    }
}

fn sum(lanes: &[LaneRates]) -> LaneRates {
    let flow = |of: fn(&LaneRates) -> FlowRates| {
        let packets: f64 = lanes.iter().map(|lane| of(lane).packets_per_s).sum();
        let batches: f64 =
            lanes.iter().map(of).filter(|f| f.batch_packets > 0.0).map(|f| f.packets_per_s / f.batch_packets).sum();
        FlowRates {
            bits_per_s: lanes.iter().map(|lane| of(lane).bits_per_s).sum(),
            packets_per_s: packets,
            batch_packets: if batches > 0.0 { packets / batches } else { 0.0 },
        }
    };
    LaneRates {
        name: "all".to_owned(),
        tx: flow(|lane| lane.tx),
        rx: flow(|lane| lane.rx),
        cpu_percent: lanes.iter().map(|lane| lane.cpu_percent).sum(),
        waiting: lanes.iter().map(|lane| lane.waiting).sum(),
        handshakes: lanes.iter().map(|lane| lane.handshakes).sum(),
        drops_per_s: lanes.iter().map(|lane| lane.drops_per_s).sum(),
        ..LaneRates::default()
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn counters(at: Instant, packets: u64, drops: u64, cpu_s: f64) -> Counters {
        let flow = |packets: u64| json!({ "packets": packets, "bytes": 1250 * packets, "batches": packets / 10 });
        let lane = |name: &str, share: u64| {
            json!({
                "interface": name, "mode": "inline", "aead": "ifma", "listen_port": 1, "handshakes": 1,
                "tx": flow(packets * share), "rx": flow(0), "drops": { "no_route": drops, "stopping": 0 },
                "queues": { "handshakes": 2, "socket_receive_bytes": 100_000 },
                "threads": [{ "name": format!("tx:{name}"), "tid": share, "stage": "tx", "cpu_s": cpu_s,
                              "tx": flow(packets * share), "rx": flow(0), "drops": {} }],
            })
        };
        Counters::parse(json!({ "lanes": [lane("wl0", 1), lane("wl1", 3)] }), at).unwrap()
    }

    /// Two seconds with 1,000 and 3,000 packets of 1,250 bytes and half a CPU for each of two lanes.
    pub fn example() -> Rates {
        let start = Instant::now();
        let before = counters(start, 5000, 10, 7.0);
        Rates::between(Some(&before), &counters(start + Duration::from_secs(2), 6000, 12, 8.0))
    }

    #[test]
    fn rates_are_differences_over_time() {
        let rates = example();
        assert_eq!((rates.lanes[0].tx.packets_per_s, rates.lanes[1].tx.packets_per_s), (500.0, 1500.0));
        assert_eq!((rates.total.tx.bits_per_s, rates.total.tx.batch_packets), (20e6, 10.0));
        assert_eq!((rates.total.cpu_percent, rates.total.waiting, rates.total.drops_per_s), (100.0, 4, 2.0));
        assert_eq!(rates.drops, [DropRates { reason: "no_route".to_owned(), total: 24, per_s: 2.0 }]);
        assert_eq!(rates.threads[1].packets_per_s, 1500.0);
    }

    #[test]
    fn a_gateway_that_started_anew_has_no_negative_rates() {
        let start = Instant::now();
        let rates = Rates::between(
            Some(&counters(start, 6000, 12, 8.0)),
            &counters(start + Duration::from_secs(1), 10, 0, 0.1),
        );
        assert_eq!((rates.total.tx.packets_per_s, rates.total.drops_per_s, rates.total.cpu_percent), (0.0, 0.0, 0.0));
        assert_eq!(Rates::between(None, &counters(start, 5, 5, 5.0)).total.tx.bits_per_s, 0.0);
    }
}
