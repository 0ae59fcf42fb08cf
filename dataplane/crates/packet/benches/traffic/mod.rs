//! What a benchmark sends; the engine's includes it too.

use wirelane_packet::checksum;

/// IPv4, and TCP with its time stamp.
pub const HEADERS: usize = 52;

/// What the TUN hands over: TCP over IPv4 that is to be split into `segments` of `payload_len` bytes.
pub fn super_packet(segments: usize, payload_len: usize) -> Vec<u8> {
    let mut vnet = vec![1, 1];
    for field in [HEADERS as u16, payload_len as u16, 20, 16] {
        vnet.extend_from_slice(&field.to_ne_bytes());
    }
    let total = (HEADERS + segments * payload_len) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let mut tcp = vec![0x10, 0, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x10, 1, 0, 0, 0, 0, 0];
    tcp.extend_from_slice(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    let pseudo = checksum::fold(checksum::pseudo_header(&ip[12..20], 6, usize::from(total) - 20));
    tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
    let payload = (0..segments * payload_len).map(|i| (i % 251) as u8);
    vnet.into_iter().chain(ip).chain(tcp).chain(payload).collect()
}
