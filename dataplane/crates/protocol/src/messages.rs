//! What is on the wire (paper, section 5.4): constants, classification of datagrams, and why one is dropped.

use std::fmt;

/// First byte of a handshake initiation (section 5.4.2).
pub const TYPE_INITIATION: u8 = 1;
/// First byte of a handshake response (section 5.4.3).
pub const TYPE_RESPONSE: u8 = 2;
/// First byte of a cookie reply (section 5.4.7).
pub const TYPE_COOKIE_REPLY: u8 = 3;
/// First byte of transport data (section 5.4.6).
pub const TYPE_TRANSPORT: u8 = 4;

/// Length of a handshake initiation in bytes (section 5.4.2).
pub const INITIATION_LEN: usize = 148;
/// Length of a handshake response in bytes (section 5.4.3).
pub const RESPONSE_LEN: usize = 92;
/// Length of a cookie reply in bytes (section 5.4.7).
pub const COOKIE_REPLY_LEN: usize = 64;
/// Bytes of transport data before the ciphertext (section 5.4.6).
pub const TRANSPORT_HEADER_LEN: usize = wirelane_packet::TRANSPORT_HEADER_LEN;
/// Length of the AEAD's tag in bytes (section 5.4).
pub const TAG_LEN: usize = wirelane_packet::TAG_LEN;
/// Length of a keepalive: transport data with an empty packet (section 6.5).
pub const KEEPALIVE_LEN: usize = TRANSPORT_HEADER_LEN + TAG_LEN;
/// Inner packets are zero-padded to a multiple of this (section 5.4.6).
pub const PADDING_MULTIPLE: usize = wirelane_packet::PADDING;
/// Length of mac1 and of mac2, the last two fields of handshake messages (section 5.4.4).
pub(crate) const MAC_LEN: usize = 16;

/// What a datagram claims to be. Its length fits the claim; nothing else has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// For [`Device::handle_handshake`](crate::Device::handle_handshake).
    Initiation,
    /// For [`Device::handle_handshake`](crate::Device::handle_handshake).
    Response,
    /// For [`Device::handle_handshake`](crate::Device::handle_handshake).
    CookieReply,
    /// For the packet path; see [`TransportHeader`].
    Transport,
}

/// Sorts a datagram by its type and length. The three reserved bytes have to be zero (section 5.4).
pub fn classify(datagram: &[u8]) -> Result<MessageKind, DropReason> {
    let Some((&[kind, reserved @ ..], _)) = datagram.split_first_chunk::<4>() else {
        return Err(DropReason::TooShort);
    };
    let (kind, fits) = match kind {
        TYPE_TRANSPORT => (MessageKind::Transport, datagram.len() >= KEEPALIVE_LEN),
        TYPE_INITIATION => (MessageKind::Initiation, datagram.len() == INITIATION_LEN),
        TYPE_RESPONSE => (MessageKind::Response, datagram.len() == RESPONSE_LEN),
        TYPE_COOKIE_REPLY => (MessageKind::CookieReply, datagram.len() == COOKIE_REPLY_LEN),
        _ => return Err(DropReason::UnknownType),
    };
    match (reserved, fits) {
        ([0, 0, 0], true) => Ok(kind),
        ([0, 0, 0], false) => Err(DropReason::WrongLength),
        _ => Err(DropReason::UnknownType),
    }
}

/// The clear-text head of transport data (section 5.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportHeader {
    /// The receiver's index of the session.
    pub receiver_index: u32,
    /// The AEAD's nonce: [`nonce`] makes its 12 bytes.
    pub counter: u64,
}

impl TransportHeader {
    /// The header of a datagram that [`classify`] calls transport data.
    pub fn parse(datagram: &[u8]) -> Result<Self, DropReason> {
        let Some((header, _)) = datagram.split_first_chunk::<TRANSPORT_HEADER_LEN>() else {
            return Err(DropReason::TooShort);
        };
        let [_, _, _, _, i0, i1, i2, i3, counter @ ..] = *header;
        Ok(Self { receiver_index: u32::from_le_bytes([i0, i1, i2, i3]), counter: u64::from_le_bytes(counter) })
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; TRANSPORT_HEADER_LEN] {
        let mut bytes = [0; TRANSPORT_HEADER_LEN];
        bytes[0] = TYPE_TRANSPORT;
        bytes[4..8].copy_from_slice(&self.receiver_index.to_le_bytes());
        bytes[8..].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }
}

/// The AEAD's nonce for a counter: 32 zero bits and the counter in little endian (section 5.4.6).
pub fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// Length of an inner packet with its padding (section 5.4.6), which never makes it longer than the MTU, as in Linux.
/// A packet longer than the MTU is padded as if it were split into MTU-sized ones.
pub fn padded_len(packet_len: usize, mtu: usize) -> usize {
    let last = if mtu == 0 { packet_len } else { packet_len % mtu };
    let padded = last.next_multiple_of(PADDING_MULTIPLE);
    packet_len - last + if mtu == 0 { padded } else { padded.min(mtu) }
}

/// Declares [`DropReason`] once: variant, name and meaning.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why the protocol refuses a datagram or a packet. Whoever gets one counts it: there is no uncounted drop.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// Every reason; a reason's position is `reason as usize`.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant,)*];

            /// How many reasons there are: the size of an array of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in statistics, in snake case.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than any message.
    TooShort = "too_short",
    /// Not a WireGuard message.
    UnknownType = "unknown_type",
    /// The length does not fit the type.
    WrongLength = "wrong_length",
    /// The device is down.
    DeviceDown = "device_down",
    /// The device has no private key.
    NoPrivateKey = "no_private_key",
    /// mac1 is wrong: the sender does not know our public key (section 5.4.4).
    InvalidMac1 = "invalid_mac1",
    /// Under load and mac2 is missing or wrong: a cookie reply goes out instead (section 5.3).
    CookieRequired = "cookie_required",
    /// Under load and this source sends too much (section 5.3).
    RateLimited = "rate_limited",
    /// A handshake message or cookie reply that does not authenticate.
    InvalidHandshake = "invalid_handshake",
    /// An initiation by a key that is no peer of ours.
    UnknownPeer = "unknown_peer",
    /// An initiation whose timestamp is not newer than the newest (section 5.1).
    ReplayedInitiation = "replayed_initiation",
    /// Initiations of one peer closer together than Linux accepts them.
    InitiationFlood = "initiation_flood",
    /// No handshake or session has this receiver index.
    UnknownReceiverIndex = "unknown_receiver_index",
    /// A response that no initiation of ours waits for.
    UnexpectedResponse = "unexpected_response",
    /// The session is older than REJECT_AFTER_TIME or has had REJECT_AFTER_MESSAGES (section 6.2).
    SessionExpired = "session_expired",
    /// Transport data that does not authenticate.
    InvalidTransport = "invalid_transport",
    /// A counter that came before, or is older than the replay window (section 5.4.6).
    ReplayedCounter = "replayed_counter",
    /// The inner source address is not among the peer's allowed IPs (section 2).
    SourceNotAllowed = "source_not_allowed",
    /// No peer has the inner destination among its allowed IPs (section 2).
    NoRoute = "no_route",
    /// The peer has no endpoint yet.
    NoEndpoint = "no_endpoint",
    /// Too many packets wait for the handshake; the oldest is dropped.
    StagedOverflow = "staged_overflow",
    /// The packet waited for a handshake that did not come about, or its peer was removed or taken down.
    StagedPurged = "staged_purged",
    /// The peer has just been removed.
    PeerRemoved = "peer_removed",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classification_by_type_and_length() {
        let datagram = |kind: u8, len: usize| {
            let mut bytes = vec![0; len];
            bytes[0] = kind;
            bytes
        };
        assert_eq!(classify(&datagram(1, 148)), Ok(MessageKind::Initiation));
        assert_eq!(classify(&datagram(2, 92)), Ok(MessageKind::Response));
        assert_eq!(classify(&datagram(3, 64)), Ok(MessageKind::CookieReply));
        assert_eq!(classify(&datagram(4, 32)), Ok(MessageKind::Transport));
        assert_eq!(classify(&datagram(4, 65_507)), Ok(MessageKind::Transport));
        assert_eq!(classify(&datagram(4, 31)), Err(DropReason::WrongLength));
        assert_eq!(classify(&datagram(1, 149)), Err(DropReason::WrongLength));
        assert_eq!(classify(&datagram(5, 148)), Err(DropReason::UnknownType));
        assert_eq!(classify(&[1, 0, 0]), Err(DropReason::TooShort));
        assert_eq!(classify(&[]), Err(DropReason::TooShort));
        let mut reserved = datagram(4, 64);
        reserved[2] = 1;
        assert_eq!(classify(&reserved), Err(DropReason::UnknownType));
    }

    #[test]
    fn padding_stops_at_the_mtu() {
        assert_eq!(padded_len(0, 1420), 0);
        assert_eq!(padded_len(1, 1420), 16);
        assert_eq!(padded_len(1408, 1420), 1408);
        assert_eq!(padded_len(1409, 1420), 1420);
        assert_eq!(padded_len(1420, 1420), 1420);
        assert_eq!(padded_len(1421, 1420), 1436);
        assert_eq!(padded_len(17, 0), 32);
    }

    #[test]
    fn drop_reasons_are_numbered_and_named_apart() {
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            assert_eq!(DropReason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }

    proptest! {
        #[test]
        fn classification_takes_any_bytes(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(MessageKind::Transport) = classify(&datagram) {
                let header = TransportHeader::parse(&datagram).unwrap();
                prop_assert_eq!(&header.to_bytes()[..], &datagram[..TRANSPORT_HEADER_LEN]);
            }
        }
    }
}
