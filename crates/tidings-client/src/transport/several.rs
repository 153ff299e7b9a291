//! The servers of one fleet: each try to open a link goes to the next that is known. So a client whose server is gone, or asks to
//! move, comes back elsewhere; the wait between two tries is the connection's business. A server that names another one as
//! the right one for this user (`prefer`) is believed: that one is tried first, until it once does not let in.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::{Link, Transport};
use crate::error::{ClientError, Lost};

/// How a server is reached at its address.
type Reach = Box<dyn Fn(&str) -> Result<Arc<dyn Transport>, ClientError> + Send + Sync>;

pub struct Several {
    reach: Reach,
    servers: Vec<Arc<dyn Transport>>,
    /// Whose turn it is, counted on and on.
    next: AtomicUsize,
    preferred: Mutex<Preferred>,
}

#[derive(Default)]
struct Preferred {
    /// To be tried first, the next time.
    next: Option<Arc<dyn Transport>>,
    /// What was tried first the last time.
    tried: Option<Arc<dyn Transport>>,
}

impl Several {
    /// The first one is tried first. There must be one.
    pub fn new(
        urls: &[String],
        reach: impl Fn(&str) -> Result<Arc<dyn Transport>, ClientError> + Send + Sync + 'static,
    ) -> Result<Self, ClientError> {
        assert!(!urls.is_empty(), "a client needs a server");
        let servers = urls.iter().map(|url| reach(url)).collect::<Result<_, _>>()?;
        Ok(Self { reach: Box::new(reach), servers, next: AtomicUsize::new(0), preferred: Mutex::default() })
    }

    /// The one that is preferred, for one try.
    fn preferred(&self) -> Option<Arc<dyn Transport>> {
        let Preferred { next, tried } = &mut *self.preferred.lock().unwrap_or_else(PoisonError::into_inner);
        *tried = next.take();
        tried.clone()
    }
}

#[async_trait]
impl Transport for Several {
    async fn open(&self, listens: bool) -> Result<Box<dyn Link>, Lost> {
        if let Some(preferred) = self.preferred()
            && let Ok(link) = preferred.open(listens).await
        {
            return Ok(link);
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.servers[turn % self.servers.len()].open(listens).await
    }

    fn servers(&self) -> usize {
        self.servers.len()
    }

    fn welcomed(&self, prefer: Option<&str>) {
        let Preferred { next, tried } = &mut *self.preferred.lock().unwrap_or_else(PoisonError::into_inner);
        *next = match prefer {
            // An address that this build cannot reach is none.
            Some(url) => (self.reach)(url).ok(),
            None => tried.clone(),
        };
    }
}
