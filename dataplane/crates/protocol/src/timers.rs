//! Timers (paper, section 6). [`Timings`] holds their durations; [`Timers`] decides for one peer what is due.
//!
//! The packet path only notes when it sent and received. What follows from that is decided here, when the control
//! thread looks: at what it already knows to be a deadline, and while a session lives every [`Timings::sampling`].

use std::time::Duration;

use crate::peer::Activity;
use crate::session::{REKEY_AFTER_MESSAGES, Role, Session};
use crate::time::Instant;

/// The durations of the protocol. [`Default`] is the paper's section 6.1; anything else is for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// REKEY_AFTER_TIME: an initiator that sends on an older session begins a new handshake.
    pub rekey_after: Duration,
    /// REJECT_AFTER_TIME: an older session is not used.
    pub reject_after: Duration,
    /// REKEY_ATTEMPT_TIME: how long a handshake is tried before giving up.
    pub rekey_attempt: Duration,
    /// REKEY_TIMEOUT: least time between two initiations; up to a fifteenth more is added at random.
    pub rekey_timeout: Duration,
    /// KEEPALIVE_TIMEOUT: time without sending after which received data is answered with a keepalive.
    pub keepalive: Duration,
    /// How long a cookie is good (section 5.4.7: two minutes).
    pub cookie_secret: Duration,
    /// How often a peer with a live session is looked at; four times as seldom while it is quiet. Timers that follow
    /// from traffic may be late by as much.
    pub sampling: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            rekey_after: Duration::from_secs(120),
            reject_after: Duration::from_secs(180),
            rekey_attempt: Duration::from_secs(90),
            rekey_timeout: Duration::from_secs(5),
            keepalive: Duration::from_secs(10),
            cookie_secret: Duration::from_secs(120),
            sampling: Duration::from_millis(250),
        }
    }
}

impl Timings {
    /// The paper's durations, all divided by `factor`: lets a test see rekeys in seconds.
    pub fn accelerated(factor: u32) -> Self {
        let paper = Self::default();
        Self {
            rekey_after: paper.rekey_after / factor,
            reject_after: paper.reject_after / factor,
            rekey_attempt: paper.rekey_attempt / factor,
            rekey_timeout: paper.rekey_timeout / factor,
            keepalive: paper.keepalive / factor,
            cookie_secret: paper.cookie_secret / factor,
            sampling: paper.sampling / factor,
        }
    }

    /// Age at which an initiator that only receives begins a new handshake (section 6.2).
    pub(crate) fn rekey_after_receiving(&self) -> Duration {
        self.reject_after.saturating_sub(self.keepalive).saturating_sub(self.rekey_timeout)
    }

    /// Time without a new session after which all keys of a peer are wiped (section 6.3).
    pub(crate) fn zero_keys_after(&self) -> Duration {
        self.reject_after * 3
    }

    /// Most that is added at random to a timeout, so that two peers do not go on colliding (section 6.1).
    pub(crate) fn jitter_max(&self) -> Duration {
        self.rekey_timeout / 15
    }
}

/// Something that wants an answer and has not had one.
#[derive(Debug, Default)]
struct Unanswered {
    /// When it was noticed, and when something has to be done about it.
    since: Option<(Instant, Instant)>,
    /// Something was done about it then, which counts as an answer.
    acted: Option<Instant>,
}

impl Unanswered {
    /// When something is to be done, from the last time that an answer was due and the last time there was one.
    fn deadline(&mut self, asked: Option<Instant>, answered: Option<Instant>, timeout: Duration) -> Option<Instant> {
        let answered = answered.max(self.acted);
        if self.since.is_some_and(|(since, _)| answered >= Some(since)) {
            self.since = None;
        }
        if self.since.is_none() && asked > answered {
            self.since = asked.map(|asked| (asked, asked + timeout));
        }
        self.since.map(|(_, deadline)| deadline)
    }

    fn act(&mut self, now: Instant) {
        *self = Self { since: None, acted: Some(now) };
    }
}

/// What one peer's timers know beyond the packet path's notes.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Data came in and nothing went out: a keepalive is due (section 6.5).
    unanswered_received: Unanswered,
    /// Data went out and nothing came in: a handshake is due (section 6.4).
    unanswered_sent: Unanswered,
    /// The persistent keepalive counts from here, if nothing was sent or received later.
    persistent_from: Option<Instant>,
    /// When all keys of the peer are wiped (section 6.3).
    zero_keys_at: Option<Instant>,
    /// Added to the time that the peer has to answer, anew for every session.
    jitter: Duration,
    /// What was seen the last time, and how long it may stay unwatched.
    sampled: (Activity, Duration),
}

/// What the timers look at.
pub(crate) struct View<'a> {
    pub now: Instant,
    pub activity: Activity,
    /// The session to send on.
    pub current: Option<&'a Session>,
    /// Whether any session can still receive.
    pub live: bool,
    pub persistent_keepalive: Option<Duration>,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub keepalive: bool,
    pub rekey: bool,
    /// The peer does not answer: find another way to it, and begin a handshake.
    pub no_answer: bool,
    pub zero_keys: bool,
    /// When to look again.
    pub next: Option<Instant>,
}

impl Timers {
    /// A session was derived. `jitter` is between zero and [`Timings::jitter_max`].
    pub fn session_derived(&mut self, now: Instant, jitter: Duration, timings: &Timings) {
        self.jitter = jitter;
        self.zero_keys_at = Some(now + timings.zero_keys_after());
    }

    /// A handshake was given up. Old keys go as if it had succeeded (section 6.3).
    pub fn gave_up(&mut self, now: Instant, timings: &Timings) {
        self.zero_keys_at.get_or_insert(now + timings.zero_keys_after());
    }

    /// Decides what is due, and takes it as done.
    pub fn decide(&mut self, view: &View<'_>, timings: &Timings) -> Due {
        let View { now, activity, .. } = *view;
        let mut due = Due { rekey: Self::rekey_is_due(view, timings), ..Due::default() };
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);

        if is_due(self.zero_keys_at) {
            due.zero_keys = true;
            self.zero_keys_at = None;
        }
        let timeout = timings.keepalive + timings.rekey_timeout + self.jitter;
        let mut no_answer_at = self.unanswered_sent.deadline(activity.sent_data, activity.received, timeout);
        if is_due(no_answer_at) {
            due.no_answer = true;
            self.unanswered_sent.act(now);
            no_answer_at = None;
        }
        let mut keepalive_at =
            self.unanswered_received.deadline(activity.received_data, activity.sent, timings.keepalive);
        if is_due(keepalive_at) {
            due.keepalive = true;
            self.unanswered_received.act(now);
            keepalive_at = None;
        }
        let mut persistent_at = self.persistent_deadline(view);
        if is_due(persistent_at) {
            due.keepalive = true;
            self.persistent_from = Some(now);
            persistent_at = self.persistent_deadline(view);
        }
        let sample_at = view.live.then(|| now + self.sampling_interval(activity, timings));
        due.next =
            [self.zero_keys_at, no_answer_at, keepalive_at, persistent_at, sample_at].into_iter().flatten().min();
        due
    }

    fn sampling_interval(&mut self, activity: Activity, timings: &Timings) -> Duration {
        let (before, interval) = self.sampled;
        let longest = if activity == before { 4 * timings.sampling } else { timings.sampling };
        self.sampled = (activity, (2 * interval).clamp(timings.sampling, longest));
        self.sampled.1
    }

    fn persistent_deadline(&mut self, view: &View<'_>) -> Option<Instant> {
        let Some(interval) = view.persistent_keepalive else {
            self.persistent_from = None;
            return None;
        };
        let from = view.activity.sent.max(view.activity.received).max(self.persistent_from);
        // Just configured: now.
        Some(from.map_or(view.now, |from| from + interval))
    }

    /// Section 6.2: the initiator's session is old and something was sent, or is so old that it would expire before
    /// the peer's next word, and something was received; or it has been used very much.
    fn rekey_is_due(view: &View<'_>, timings: &Timings) -> bool {
        let Some(session) = view.current else { return false };
        let used_after = |last: Option<Instant>, age: Duration| last.is_some_and(|last| last >= session.born() + age);
        session.sent_messages() > REKEY_AFTER_MESSAGES
            || session.role() == Role::Initiator
                && (used_after(view.activity.sent, timings.rekey_after)
                    || used_after(view.activity.received, timings.rekey_after_receiving()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::TransportKeys;

    fn at(seconds: f64) -> Instant {
        Instant::from(Duration::from_secs_f64(seconds))
    }

    fn view(now: f64, activity: Activity) -> View<'static> {
        View { now: at(now), activity, current: None, live: false, persistent_keepalive: None }
    }

    /// Looks whenever the timers ask for it, from `from` to `until` seconds; what was due, and when.
    fn run(timers: &mut Timers, from: f64, until: f64, activity: Activity) -> Vec<(f64, Due)> {
        let (mut now, mut seen) = (from, Vec::new());
        while now <= until {
            let due = timers.decide(&view(now, activity), &Timings::default());
            let next = due.next.map_or(f64::INFINITY, |next| next.as_nanos() as f64 / 1e9);
            if (Due { next: None, ..due }) != Due::default() {
                seen.push((now, due));
            }
            assert!(next > now);
            now = next;
        }
        seen
    }

    #[test]
    fn data_that_is_not_answered_for_ten_seconds_is_answered_with_a_keepalive() {
        let activity = Activity { received: Some(at(100.0)), received_data: Some(at(100.0)), ..Activity::default() };
        let seen = run(&mut Timers::default(), 100.1, 200.0, activity);
        assert_eq!(seen.len(), 1);
        assert!(seen[0].0 == 110.0 && seen[0].1.keepalive && !seen[0].1.no_answer);
        let answered = Activity { sent: Some(at(100.0)), ..activity };
        assert!(run(&mut Timers::default(), 100.1, 200.0, answered).is_empty());
        let keepalive = Activity { received_data: None, ..activity };
        assert!(run(&mut Timers::default(), 100.1, 200.0, keepalive).is_empty(), "a keepalive needs no answer");
    }

    #[test]
    fn data_that_stays_without_any_answer_for_fifteen_seconds_begins_a_handshake() {
        let activity = Activity { sent: Some(at(100.0)), sent_data: Some(at(100.0)), ..Activity::default() };
        let seen = run(&mut Timers::default(), 100.1, 200.0, activity);
        assert_eq!(seen.len(), 1);
        assert!(seen[0].0 == 115.0 && seen[0].1.no_answer && !seen[0].1.keepalive);
        let answered = Activity { received: Some(at(100.0)), ..activity };
        assert!(run(&mut Timers::default(), 100.1, 200.0, answered).is_empty());
    }

    #[test]
    fn the_first_of_many_packets_without_an_answer_counts() {
        let mut timers = Timers::default();
        for tenth in 0..149 {
            let now = 100.0 + f64::from(tenth) / 10.0;
            let activity = Activity { sent: Some(at(now)), sent_data: Some(at(now)), ..Activity::default() };
            assert!(!timers.decide(&view(now, activity), &Timings::default()).no_answer);
        }
        let activity = Activity { sent: Some(at(115.0)), sent_data: Some(at(115.0)), ..Activity::default() };
        assert!(timers.decide(&view(115.0, activity), &Timings::default()).no_answer);
    }

    #[test]
    fn a_persistent_keepalive_counts_from_the_last_packet() {
        let activity = Activity { sent: Some(at(100.0)), received: Some(at(103.0)), ..Activity::default() };
        let mut timers = Timers::default();
        let mut view = view(104.0, activity);
        view.persistent_keepalive = Some(Duration::from_secs(25));
        assert_eq!(timers.decide(&view, &Timings::default()).next, Some(at(128.0)));
        view.now = at(128.0);
        let due = timers.decide(&view, &Timings::default());
        assert!(due.keepalive && due.next == Some(at(153.0)));
    }

    #[test]
    fn only_the_initiator_replaces_its_session_for_its_age() {
        let session = |role| {
            let keys = TransportKeys { send: Default::default(), receive: Default::default() };
            Session::new((1, 2), role, keys, Timings::default(), at(100.0))
        };
        let rekey = |role, activity| {
            let session = session(role);
            let view = View { current: Some(&session), ..view(270.0, activity) };
            Timers::default().decide(&view, &Timings::default()).rekey
        };
        let sent = |seconds| Activity { sent: Some(at(seconds)), ..Activity::default() };
        let received = |seconds| Activity { received: Some(at(seconds)), ..Activity::default() };
        assert!(!rekey(Role::Initiator, sent(219.9)));
        assert!(rekey(Role::Initiator, sent(220.0)));
        assert!(!rekey(Role::Initiator, received(264.9)));
        assert!(rekey(Role::Initiator, received(265.0)));
        assert!(!rekey(Role::Responder, sent(270.0)) && !rekey(Role::Responder, received(270.0)));
    }

    #[test]
    fn a_quiet_peer_is_looked_at_once_a_second_and_a_busy_one_four_times() {
        let (mut timers, timings) = (Timers::default(), Timings::default());
        let mut looks = |activity: fn(Instant) -> Activity| {
            let (mut now, mut looks) = (at(100.0), 0);
            while now < at(110.0) {
                let view = View { now, activity: activity(now), current: None, live: true, persistent_keepalive: None };
                now = timers.decide(&view, &timings).next.unwrap();
                looks += 1;
            }
            looks
        };
        assert_eq!(looks(|now| Activity { sent: Some(now), ..Activity::default() }), 40);
        assert_eq!(looks(|_| Activity::default()), 12);
    }

    #[test]
    fn keys_are_wiped_nine_minutes_after_the_last_session() {
        let mut timers = Timers::default();
        timers.session_derived(at(100.0), Duration::ZERO, &Timings::default());
        timers.gave_up(at(300.0), &Timings::default());
        let seen = run(&mut timers, 300.0, 2000.0, Activity::default());
        assert_eq!(seen.len(), 1);
        assert!(seen[0].0 == 640.0 && seen[0].1.zero_keys);
    }
}
