//! Who talks where, and what they do next: the same as in the proofs with a real server.

#[path = "../../../tidings/tests/it/proof/held.rs"]
pub mod held;
#[path = "../../../tidings/tests/it/proof/plan.rs"]
pub mod plan;
#[allow(dead_code, reason = "the proofs use more of it")]
#[path = "../../../tidings/tests/it/proof/world.rs"]
pub mod world;
