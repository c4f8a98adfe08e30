//! What workers say to each other and to the controller.

/// A message from one worker to another.
#[derive(Debug)]
pub enum Parcel {}

impl Parcel {
    /// Whether it must arrive even if the inbox is full: answers do, or their exchanges would hang.
    pub fn must_arrive(&self) -> bool {
        match *self {}
    }
}
