//! What other nodes do with a journal, as `cluster` asks for it.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;

use super::Journals;
use crate::{
    cassandra::StoreError,
    journal::{Position, ReadError, SharedJournals},
    node::NodeId,
};

#[async_trait]
impl SharedJournals for Journals {
    async fn seal(&self, id: NodeId) -> io::Result<Position> {
        Self::seal(self, id).await.map_err(StoreError::into_io)
    }

    async fn sealed(&self, id: NodeId) -> io::Result<Option<Position>> {
        Self::sealed(self, id).await.map_err(StoreError::into_io)
    }

    async fn flushed(&self, id: NodeId) -> io::Result<Position> {
        Self::flushed(self, id).await.map_err(StoreError::into_io)
    }

    async fn read(&self, id: NodeId, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        Self::read(self, id, after, max_bytes).await
    }

    async fn retire(&self, id: NodeId) -> io::Result<()> {
        Self::retire(self, id).await.map_err(StoreError::into_io)
    }
}
