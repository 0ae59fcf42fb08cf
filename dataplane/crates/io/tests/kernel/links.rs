use crate::{in_namespace, ip, prefix, run_in_namespace};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use wirelane_io::{Existing, LinkEvent, LinkMonitor, Netlink, Tun, TunOptions};

fn ip_output(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn drain(monitor: &mut LinkMonitor) -> Vec<LinkEvent> {
    std::iter::from_fn(|| monitor.next_event().unwrap()).collect()
}

#[test]
fn a_device_is_made_configured_watched_and_removed() {
    run_in_namespace("TUN device", || {
        let tun = Tun::create(&TunOptions::new("wl0")).unwrap();
        assert_eq!((tun.name(), tun.is_up().unwrap(), tun.mtu().unwrap()), ("wl0", false, 1500));
        let mut monitor = LinkMonitor::new(tun.index()).unwrap();
        assert_eq!(drain(&mut monitor), [LinkEvent::Mtu(1500), LinkEvent::Down]);
        tun.set_mtu(1420).unwrap();
        tun.set_up(true).unwrap();
        assert_eq!((tun.is_up().unwrap(), tun.mtu().unwrap()), (true, 1420));
        assert_eq!(drain(&mut monitor), [LinkEvent::Mtu(1420), LinkEvent::Up]);
        tun.set_up(false).unwrap();
        assert_eq!(drain(&mut monitor), [LinkEvent::Down]);
        drop(tun);
        assert_eq!(drain(&mut monitor), [LinkEvent::Removed]);
    });
}

/// Events until `expected` have come, in order.
fn expect(monitor: &mut LinkMonitor, expected: &[LinkEvent]) {
    let (mut seen, start) = (Vec::new(), Instant::now());
    while seen != expected && start.elapsed() < Duration::from_secs(10) {
        seen.extend(drain(monitor));
        std::thread::sleep(monitor.longest_wait().unwrap_or(Duration::from_millis(10)));
    }
    assert_eq!(seen, expected);
}

#[test]
fn a_device_that_moves_to_another_namespace_is_watched_there() {
    // Runs `ip` in its namespace with every line that comes.
    let (lines, to_run): (_, Receiver<String>) = channel();
    let (thread_id, its_id) = channel();
    let Some(other) = in_namespace("another namespace", move || {
        thread_id.send(wirelane_io::current_thread_id()).unwrap();
        to_run.iter().for_each(|line| drop(ip_output(&line)));
    }) else {
        return;
    };
    let other_id = its_id.recv().unwrap();
    run_in_namespace("a device that moves", move || {
        let tun = Tun::create(&TunOptions::new("wl0")).unwrap();
        let mut monitor = LinkMonitor::new(tun.index()).unwrap();
        tun.set_up(true).unwrap();
        expect(&mut monitor, &[LinkEvent::Mtu(1500), LinkEvent::Down, LinkEvent::Up]);
        assert_eq!(monitor.longest_wait(), None);
        ip_output(&format!("link set wl0 netns {other_id}"));
        expect(&mut monitor, &[LinkEvent::Down]);
        assert!(monitor.longest_wait().is_some());
        lines.send("link set wl0 mtu 1300 up".to_owned()).unwrap();
        expect(&mut monitor, &[LinkEvent::Mtu(1300), LinkEvent::Up]);
        lines.send(format!("link set wl0 netns {}", wirelane_io::current_thread_id())).unwrap();
        expect(&mut monitor, &[LinkEvent::Down]);
        tun.set_up(true).unwrap();
        expect(&mut monitor, &[LinkEvent::Up]);
        ip_output(&format!("link set wl0 netns {other_id}"));
        expect(&mut monitor, &[LinkEvent::Down]);
        lines.send("link del wl0".to_owned()).unwrap();
        expect(&mut monitor, &[LinkEvent::Removed]);
    });
    other.join().unwrap();
}

#[test]
fn impossible_devices_are_errors() {
    run_in_namespace("TUN errors", || {
        for name in ["", "sixteen-bytes-xx", "a/b", "..", "a b", "x:1"] {
            let error = Tun::create(&TunOptions::new(name)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
        }
        let _first = Tun::create(&TunOptions::new("wl0")).unwrap();
        let error = Tun::create(&TunOptions::new("wl0")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
        assert!(_first.another_queue().is_err());
    });
}

#[test]
fn offloads_can_be_off_and_queues_many() {
    run_in_namespace("TUN options", || {
        for (tso, uso) in [(false, false), (true, false), (true, true)] {
            let tun = Tun::create(&TunOptions { tso, uso, multi_queue: true, ..TunOptions::new("wl%d") }).unwrap();
            assert_eq!((tun.offload().tso, tun.offload().uso && !uso), (tso, false));
            let second = tun.another_queue().unwrap();
            assert_eq!((second.name(), second.index(), second.offload()), (tun.name(), tun.index(), tun.offload()));
        }
    });
}

#[test]
fn addresses_and_routes_over_several_lanes() {
    run_in_namespace("routes", || {
        let lanes: Vec<_> = (0..2).map(|i| Tun::create(&TunOptions::new(&format!("wl{i}"))).unwrap()).collect();
        let mut netlink = Netlink::open().unwrap();
        for (i, lane) in lanes.iter().enumerate() {
            netlink.add_address(lane.index(), prefix(&format!("198.18.128.{}/31", 2 * i))).unwrap();
            netlink.add_address(lane.index(), prefix(&format!("fd00::{i}:1/112"))).unwrap();
            netlink.set_up(lane.index(), true).unwrap();
        }
        netlink.add_address(1, prefix("198.19.1.1/32")).unwrap();
        netlink.add_address(1, prefix("198.19.1.1/32")).unwrap();
        let indices: Vec<_> = lanes.iter().map(Tun::index).collect();
        let source = Some(ip("198.19.1.1"));
        netlink.route(prefix("198.19.2.0/24"), source, &indices, Existing::Refuse).unwrap();
        netlink.route(prefix("198.19.2.0/24"), source, &indices, Existing::Replace).unwrap();
        let again = netlink.route(prefix("198.19.2.0/24"), source, &indices, Existing::Refuse).unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
        netlink.route(prefix("fd01::/64"), None, &indices, Existing::Refuse).unwrap();
        let v4 = ip_output("route show 198.19.2.0/24");
        assert!(v4.contains("src 198.19.1.1") && v4.contains("nexthop dev wl0") && v4.contains("dev wl1"), "{v4}");
        let v6 = ip_output("-6 route show fd01::/64");
        assert!(v6.contains("wl0") && v6.contains("wl1"), "{v6}");
        assert!(ip_output("addr show wl1").contains("198.18.128.2/31"));
        netlink.delete_route(prefix("198.19.2.0/24")).unwrap();
        assert_eq!(ip_output("route show 198.19.2.0/24"), "");
        assert_eq!(netlink.delete_route(prefix("198.19.2.0/24")).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        assert!(netlink.route(prefix("198.19.2.0/24"), None, &[], Existing::Refuse).is_err());
        assert!(netlink.route(prefix("198.19.2.0/24"), Some(ip("::1")), &indices, Existing::Refuse).is_err());
    });
}
