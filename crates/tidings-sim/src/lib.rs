//! A fleet of Tidings under a seeded simulator. All of it is the test `sim`; ARCHITECTURE.md says what is simulated.
