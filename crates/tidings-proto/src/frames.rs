//! The frames.
