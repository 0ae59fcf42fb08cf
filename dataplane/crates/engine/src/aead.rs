//! The AEAD of a thread, made when its first packet comes: an idle lane has no use for its scratch memory.

use wirelane_crypto::{Aead, Backend, BackendChoice};

/// A thread's AEAD, or the intention to have one.
pub struct ThreadAead {
    backend: Backend,
    made: Option<Aead>,
}

impl ThreadAead {
    /// `backend` has been tried on this machine.
    pub fn new(backend: Backend) -> Self {
        Self { backend, made: None }
    }

    /// The AEAD.
    ///
    /// # Panics
    /// If a backend that worked when the lane started does not work now.
    pub fn get(&mut self) -> &mut Aead {
        let backend = self.backend;
        self.made.get_or_insert_with(|| Aead::new(BackendChoice::Force(backend)).expect("the backend has been tried"))
    }
}
