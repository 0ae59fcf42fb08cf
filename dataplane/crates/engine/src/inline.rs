//! Inline mode: each direction of a lane runs to completion in one thread. No queue, no hand-off.

use wirelane_io::Waker;

use crate::aead::ThreadAead;
use crate::collect::{SocketCollector, Step, TunCollector};
use crate::counters::ThreadCounters;
use crate::inbound::{Delivery, InboundBatch};
use crate::outbound::OutboundBatch;
use crate::pipelined::WriterEnd;
use crate::shared::Shared;

/// TUN to network, until the lane ends.
pub fn transmit(
    shared: &Shared,
    mut collector: TunCollector,
    mut batch: OutboundBatch,
    mut aead: ThreadAead,
    counters: &ThreadCounters,
) {
    let Ok(stop) = collector.stop_waker().try_clone() else {
        log::error!("{}: no descriptor left for the tx thread", shared.tun.name());
        return;
    };
    let mut send = |batch: &mut OutboundBatch| {
        if !batch.packets.is_empty() {
            let now = shared.now();
            if batch.prepare(shared, now, counters) {
                batch.seal(aead.get());
                batch.send(shared, &stop, now, counters);
            }
        }
        batch.clear();
        !shared.is_stopping()
    };
    loop {
        match collector.take_one(shared, counters, &mut batch, &mut send) {
            Step::More => {}
            Step::Empty => {
                if !send(&mut batch) || collector.wait(&shared.tun, || shared.is_stopping()) == Step::End {
                    return;
                }
            }
            Step::End => return,
        }
    }
}

/// Batches that a bond's reader hands over, to the network, until that ends.
pub fn transmit_handed(
    shared: &Shared,
    end: WriterEnd<OutboundBatch>,
    stop: &Waker,
    mut aead: ThreadAead,
    counters: &ThreadCounters,
) {
    end.run(counters, |batch| {
        let now = shared.now();
        if batch.prepare(shared, now, counters) {
            batch.seal(aead.get());
            batch.send(shared, stop, now, counters);
        }
        batch.clear();
    });
}

/// Network to TUN, until the lane ends.
pub fn receive(
    shared: &Shared,
    mut collector: SocketCollector,
    mut batch: InboundBatch,
    mut aead: ThreadAead,
    counters: &ThreadCounters,
) {
    let mut delivery = Delivery::new(shared);
    loop {
        let step = collector.take(&mut batch, shared);
        if !batch.is_empty() {
            let now = shared.now();
            batch.sort(shared, now, counters);
            batch.open(aead.get());
            delivery.deliver(&mut batch, shared, now, counters);
            batch.clear();
        }
        if shared.is_stopping() || (step == Step::Empty && collector.wait(shared) == Step::End) {
            return;
        }
    }
}
