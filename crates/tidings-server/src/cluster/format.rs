//! Formats: what the nodes of a fleet write for each other, on the bus, into journals and tables and into the view.
//!
//! A fleet is deployed node by node, so neighbours in version work side by side. Fields may be added at any time: who does
//! not know one skips it. A new kind of event, row or frame is something that an older build cannot read at all: it is a new
//! format, with the next number. A build reads all formats up to its own. It writes one only when the view says that the whole
//! fleet reads it ([`super::view::View::format`]); from then on builds that do not are not let in.
//!
//! The feature `next-format` builds a version that is one ahead, with something new in each of these places: so that a
//! deploy can be tried before there is a next version: `cargo build --workspace --features tidings/next-format`.

/// The format that this build reads.
pub const FORMAT: u16 = if cfg!(feature = "next-format") { 2 } else { 1 };
