//! The judge can say no: made-up evidence, each with one fault in it.

mod app;
mod fleet;
