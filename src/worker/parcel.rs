//! What workers say to each other and to the controller.

/// A message from one worker to another.
#[derive(Debug)]
pub enum Parcel {}
