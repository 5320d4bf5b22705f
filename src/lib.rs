//! Events of `tracing` in the log of a Bitrix24 business process.
