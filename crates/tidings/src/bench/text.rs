//! What people write: messages of a given length made of sentences like those of a chat, word after word as likely as in
//! the lines below, with names, numbers and addresses that no dictionary knows in between.

use std::collections::HashMap;

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The text of a message in most scenarios.
pub const TEXT_BYTES: usize = 150;
/// One word in so many is one that nobody wrote before.
const RARE: u32 = 7;
/// One word in so many begins another thought, so that texts do not repeat whole lines.
const JUMP: u32 = 4;

const LINES: &str = "\
did anyone look at the failing build yet? I get a timeout in the upload step every time
yes, it is the same thing as last week, the disk of the runner was full again
ok I cleaned it up and started it once more, should be green in about twenty minutes
thanks! are you coming to lunch with us or do you want me to bring you something
could you bring me a sandwich please, I am still on the phone with the customer in Lyon
sure, no problem. with cheese or the vegetarian one? they also have soup today
the new version is much faster on my machine but it uses more memory than before
how much more? we only have two gigabytes on the small ones and they run other things too
let me measure it properly this afternoon and write the numbers into the ticket
good morning everybody, the train is late again so I will join the meeting from my phone
don't worry, we moved it to half past ten because Maria is at the dentist
I think we should tell them before the weekend, otherwise nobody reads it until Monday
agreed. can you write two or three sentences and I will send it around to the whole team
does somebody know how to restart the printer on the second floor without calling support
unplug it, wait for ten seconds, plug it in again and press the green button twice
it worked, you are my hero! now it prints all the pages from yesterday as well
what was the name of that restaurant near the river where we went for your birthday
the little Italian place? I don't remember but I can ask my sister, she booked the table
the children are in bed, I will be online in five minutes if you still want to talk
sorry, I fell asleep on the sofa. tomorrow evening would be better for me anyway
please check whether the backup of the database has finished before you change anything there
it says done, but the file is smaller than the one from Tuesday, is that normal
it is compressed differently now, so that should be fine. I restored it on the test server
great work, thank you for checking that so carefully, I would have forgotten about it
my flight lands at seven and then I need about an hour to get through the city
we can pick you up if you want, there is enough room in the car for one more suitcase
that would be lovely, but only if it is not too much trouble for you and the dog
I tried the command from the manual and it prints an error about a missing library
which version are you on? there was a bug with that which they fixed in the last release
the old one, I wanted to wait with the update until the project is over
you can install both next to each other, just use another prefix when you configure it
has the invoice been paid? the accountant asks me every second day and I never know what to say
not yet, they promised to do it by the end of the month but I would not bet on it
who has the key for the meeting room? there is a group of visitors standing at the door
I saw it on the kitchen table this morning next to the coffee machine
we lost the match, three to one, but it was a good game and nobody got hurt
see you on Sunday then, and don't forget to bring the photos from the summer";

/// Makes texts; the same seed makes the same ones.
pub struct Texts {
    random: StdRng,
    /// Each word with those that follow it somewhere.
    next: Vec<(&'static str, Vec<usize>)>,
}

impl Texts {
    pub fn new(seed: u64) -> Self {
        let mut places: HashMap<&'static str, usize> = HashMap::new();
        let mut next: Vec<(&'static str, Vec<usize>)> = Vec::new();
        let mut place_of = |word, next: &mut Vec<_>| {
            *places.entry(word).or_insert_with(|| {
                next.push((word, Vec::new()));
                next.len() - 1
            })
        };
        for line in LINES.lines() {
            let words: Vec<usize> = line.split(' ').map(|word| place_of(word, &mut next)).collect();
            for pair in words.windows(2) {
                next[pair[0]].1.push(pair[1]);
            }
        }
        Self { random: StdRng::seed_from_u64(seed), next }
    }

    /// A text of exactly `bytes` bytes. It needs no escapes in JSON.
    pub fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 24);
        let mut word = self.random.random_range(0..self.next.len());
        while text.len() < bytes {
            if self.random.random_ratio(1, RARE) {
                self.push_rare(&mut text);
            } else {
                text.push_str(self.next[word].0);
            }
            text.push(' ');
            let follows = &self.next[word].1;
            word = if follows.is_empty() || self.random.random_ratio(1, JUMP) {
                self.random.random_range(0..self.next.len())
            } else {
                follows[self.random.random_range(0..follows.len())]
            };
        }
        text.truncate(bytes);
        text
    }

    /// A number, a name or an address.
    fn push_rare(&mut self, text: &mut String) {
        match self.random.random_range(0..4) {
            0 => text.push_str(&self.random.random_range(2..10_000).to_string()),
            1 => {
                text.push_str("https://example.org/");
                text.extend((0..6).map(|_| char::from(self.random.random_range(b'a'..=b'z'))));
            }
            _ => {
                let length = self.random.random_range(2..5);
                for _ in 0..length {
                    text.push(char::from(b"bdfghjklmnprstvwz"[self.random.random_range(0..17)]));
                    text.push(char::from(b"aeiou"[self.random.random_range(0..5)]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_length_and_need_no_escapes() {
        let mut texts = Texts::new(1);
        for _ in 0..100 {
            let text = texts.text(TEXT_BYTES);
            assert_eq!(text.len(), TEXT_BYTES);
            assert_eq!(serde_json::to_string(&text).unwrap(), format!("\"{text}\""));
        }
        assert_eq!(Texts::new(2).text(99), Texts::new(2).text(99));
    }
}
