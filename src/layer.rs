//! The layer: tags spans, turns events into lines.
