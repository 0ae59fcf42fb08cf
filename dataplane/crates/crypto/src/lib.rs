//! ChaCha20-Poly1305 over batches of packets; the backend is chosen at run time.
