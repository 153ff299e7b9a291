//! The checker against histories: good ones stay green, one mutation turns one rule red.

mod green;
mod model;
mod recording;
mod red;
