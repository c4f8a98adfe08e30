//! Long shared pieces on their way out: from files in memory, and where there are none.

use super::*;

/// Sends long shared pieces, each between two small ones, and has them read slowly.
fn shared_pieces_arrive(world: &mut World) -> Arc<[u8]> {
    const ROUNDS: usize = 20;
    let piece: Arc<[u8]> = (0..1_000_003u32)
        .map(|at| (at % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    let (client, id) = world.client();
    for round in 0..ROUNDS {
        let outbox = world.player().outboxes.entry(id.slot).or_default();
        outbox.push(format!("<{round}:").as_bytes());
        outbox.push_shared(&piece);
        outbox.push(b">");
        world.player().wants.push_back(Effect::Flush(id));
    }
    let expected: Vec<u8> = (0..ROUNDS)
        .flat_map(|round| [format!("<{round}:").as_bytes(), &piece, b">"].concat())
        .collect();
    let length = expected.len();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut part = [0; 5000];
        while all.len() < length {
            let count = (&client).read(&mut part).unwrap();
            all.extend_from_slice(&part[..count]);
        }
        all
    });
    world.turn_until(|player| player.outboxes.values().all(Outbox::is_empty));
    assert!(reader.join().unwrap() == expected);
    piece
}

#[test]
fn shared_pieces_arrive_from_a_file() {
    let mut world = world();
    let piece = shared_pieces_arrive(&mut world);
    let file = world.looped.links.memfiles.of(&piece);
    assert!(file.is_some(), "they were sent from one");
}

#[test]
fn shared_pieces_arrive_where_there_are_no_files() {
    let mut world = world();
    world.looped.links.memfiles.give_up();
    let piece = shared_pieces_arrive(&mut world);
    assert!(world.looped.links.memfiles.of(&piece).is_none());
}
