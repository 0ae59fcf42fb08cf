//! Threads of a lane: named, placed, confined, counted, and joined at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use wirelane_io as wio;

use crate::counters::{Drops, ThreadCounters};
use crate::stats::{FlowStats, ThreadPlacement, ThreadStats};
use crate::tuning::{Direction, Stage, Tuning, cpu_of_thread};

/// Stack of a packet thread. Buffers are on the heap; the deepest path is the handshake's, with some 20 KiB.
const STACK_BYTES: usize = 256 << 10;

/// One thread of a lane.
#[derive(Debug)]
pub struct LaneThread {
    pub name: String,
    pub stage: Stage,
    /// None: both, or neither.
    pub direction: Option<Direction>,
    pub counters: Arc<ThreadCounters>,
    /// The kernel's id; 0 until the thread runs.
    tid: Arc<AtomicI32>,
    numa_policy: String,
    /// Says that the thread is where it should be; taken by [`settle`](Self::settle).
    placed: Option<Receiver<io::Result<String>>>,
    handle: JoinHandle<()>,
}

/// What a thread is started with.
pub struct ThreadPlan {
    /// As the kernel shows it; at most 15 bytes are kept.
    pub name: String,
    pub stage: Stage,
    /// None: both, or neither.
    pub direction: Option<Direction>,
    /// Which thread of its stage, over all lanes of the process.
    pub number: usize,
}

impl LaneThread {
    /// Starts a thread on the CPU that the tuning says, and runs `body` there. [`settle`](Self::settle) says whether it
    /// got there: many threads are started, and only then waited for.
    ///
    /// The thread places itself before `body` allocates its buffers, so that "local" memory is on its node.
    pub fn spawn(
        plan: ThreadPlan,
        tuning: &Tuning,
        body: impl FnOnce(&ThreadCounters) + Send + 'static,
    ) -> io::Result<Self> {
        let counters = Arc::new(ThreadCounters::default());
        let tid = Arc::new(AtomicI32::new(0));
        let cpu = tuning.cpu_sets.of(plan.stage).and_then(|set| cpu_of_thread(set, plan.number));
        let numa_policy = tuning.numa_policy;
        let (own_counters, own_tid, name) = (Arc::clone(&counters), Arc::clone(&tid), plan.name.clone());
        let (placed, placement) = sync_channel(1);
        let handle = std::thread::Builder::new().name(plan.name.clone()).stack_size(STACK_BYTES).spawn(move || {
            own_tid.store(wio::current_thread_id(), Ordering::Relaxed);
            let result = place(&name, cpu, numa_policy).and_then(|()| match plan.stage {
                // It looks at links and brings up sessions, and is confined as the process is.
                Stage::Control => Ok(()),
                _ => wio::confine_packet_thread(),
            });
            let result = result.map(|()| wio::thread_policy().unwrap_or_else(|error| format!("unknown: {error}")));
            let is_placed = result.is_ok();
            // Whoever settles it waits for it; nobody does when another thread could not be started.
            let _ = placed.send(result);
            if is_placed {
                body(&own_counters);
            }
        })?;
        let ThreadPlan { name, stage, direction, .. } = plan;
        let (numa_policy, placed) = (String::new(), Some(placement));
        Ok(Self { name, stage, direction, counters, tid, numa_policy, placed, handle })
    }

    /// Waits until the thread is placed and confined. The error says why it could not be; then it has ended.
    pub fn settle(&mut self) -> io::Result<()> {
        let Some(placed) = self.placed.take() else { return Ok(()) };
        self.numa_policy = placed.recv().map_err(|_| io::Error::other("the thread ended at once"))??;
        Ok(())
    }

    /// The kernel's id.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// User and system CPU time so far.
    pub fn cpu_s(&self) -> f64 {
        // A thread that has ended has no clock any more.
        wio::thread_cpu_time(self.tid()).map_or(0.0, |time| time.as_secs_f64())
    }

    /// Its counters.
    pub fn stats(&self) -> ThreadStats {
        let mut drops = Drops::default();
        self.counters.add_drops_to(&mut drops);
        ThreadStats {
            name: self.name.clone(),
            tid: self.tid(),
            stage: self.stage.name(),
            cpu_s: self.cpu_s(),
            tx: FlowStats::from(&self.counters.tx),
            rx: FlowStats::from(&self.counters.rx),
            drops,
        }
    }

    /// Waits for its end; it has been told to.
    pub fn join(self) {
        if self.handle.join().is_err() {
            log::error!("thread {} panicked", self.name);
        }
    }

    /// Where the kernel says that it may run.
    pub fn placement(&self) -> ThreadPlacement {
        let cpu_set = wio::thread_affinity(self.tid()).map_or_else(|_| String::new(), |set| set.to_string());
        ThreadPlacement {
            name: self.name.clone(),
            tid: self.tid(),
            stage: self.stage.name(),
            cpu_set,
            numa_policy: self.numa_policy.clone(),
        }
    }
}

fn place(name: &str, cpu: Option<u32>, numa_policy: wio::NumaPolicy) -> io::Result<()> {
    wio::set_thread_name(name)?;
    let Some(cpu) = cpu else { return Ok(()) };
    wio::set_thread_affinity(0, &wio::CpuSet::new([cpu]))
        .map_err(|error| io::Error::new(error.kind(), format!("CPU {cpu} cannot be used by thread {name}: {error}")))?;
    wio::set_thread_policy(numa_policy, wio::node_of_cpu(cpu))
}
