//! Several servers of one fleet: each try to open a link goes to the next of them. So a client whose server is gone, or asks to move,
//! comes back elsewhere; the wait between two tries is the connection's business.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::{Link, Transport};
use crate::error::Lost;

pub struct Several {
    servers: Vec<Arc<dyn Transport>>,
    /// Whose turn it is, counted on and on.
    next: AtomicUsize,
}

impl Several {
    /// The first one is tried first. There must be one.
    pub fn new(servers: Vec<Arc<dyn Transport>>) -> Self {
        assert!(!servers.is_empty(), "a client needs a server");
        Self { servers, next: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl Transport for Several {
    async fn open(&self, listens: bool) -> Result<Box<dyn Link>, Lost> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.servers[turn % self.servers.len()].open(listens).await
    }

    fn servers(&self) -> usize {
        self.servers.len()
    }
}
