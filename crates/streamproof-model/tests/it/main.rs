//! The pure model as its users call it: inputs of any kind, none of which may make it panic or hang.

mod fuzz;

#[test]
fn mutated_and_random_files_are_read_without_a_panic() {
    let fuzz = fuzz::Fuzz::new(20_260_821);
    for index in 0..5_000 {
        fuzz.try_one(index);
    }
}
