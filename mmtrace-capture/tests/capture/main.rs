//! Captures: what goes in comes out, and what happens to them on disk is noticed.

mod bounds;
mod fixtures;
mod flight_recorder;
mod manifest;
mod owner;
mod segment;
mod stream;
mod tables;
mod writer;
