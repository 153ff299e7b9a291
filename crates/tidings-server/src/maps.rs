//! The maps of what is hosted. Their order of iteration is random, and nothing may rest on it; yet messages to other nodes leave
//! in it. In tests it follows from the system's randomness, so that a simulation which gives that gets the same order again.

/// A map. Made by `default`, or by collecting.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, Hashing>;

/// A set. Made by `default`, or by collecting.
pub type HashSet<T> = hashbrown::HashSet<T, Hashing>;

#[cfg(not(feature = "testing"))]
pub type Hashing = hashbrown::DefaultHashBuilder;

#[cfg(feature = "testing")]
pub type Hashing = std::hash::RandomState;
