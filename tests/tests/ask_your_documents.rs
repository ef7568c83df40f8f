//! The main job, with the real program, the real index and the real models: import, ask, cite, open.
//!
//! Needs the starter models, which `make test` installs.

use std::time::{Duration, SystemTime};

use satchel_tests::Laptop;

const BRIDGE: &str = "# The bridge at Osterby\n\nBuilt by the engineer Lene Falk between 1911 and 1914.\n\n## Repairs\n\n\
    The wooden deck was replaced in 1987 by one of steel grating. The work cost 412,000 crowns and took five months.\n\n\
    ## Traffic\n\nLorries above 12 tonnes must use the ferry.\n";
const RECIPE: &str = "Rye bread of my grandmother\n\nSoak 300 g of cracked rye overnight. In the morning add 500 g of rye flour, \
    two spoons of salt and the sourdough. Bake it for 95 minutes at 170 degrees in a covered tin.\n";
const MEDICINE: &str = "<html><head><title>Discharge letter</title></head><body><h1>Discharge letter</h1><p>The patient was treated \
    for pneumonia from 2 to 9 March. He must not take penicillin, to which he reacted with a rash in 2009.</p>\
    <script>alert('never text')</script></body></html>";

fn with_papers() -> Laptop {
    let laptop = Laptop::with_starter_models();
    laptop.write("papers/bridge.md", BRIDGE);
    laptop.write("papers/kitchen/bread.txt", RECIPE);
    laptop.write("papers/letter.html", MEDICINE);
    laptop.write(
        "papers/costs.csv",
        "year,what,amount\n2021,roof,1200\n2022,boiler,3400\n",
    );
    laptop
}

#[test]
fn a_question_is_answered_with_the_exact_passage() {
    let laptop = with_papers();
    let report = laptop
        .run(["import", "papers", "--json"])
        .expect_success()
        .json();
    assert_eq!(report["added"], 4, "{report}");
    assert_eq!(report["coverage"]["documents"], 4, "{report}");
    assert_eq!(
        report["coverage"]["passages"], report["coverage"]["embedded"],
        "{report}"
    );

    let answer = laptop
        .run(["ask", "--json", "When was the deck of the bridge replaced?"])
        .expect_success()
        .json();
    assert_eq!(answer["refused"], false, "{answer}");
    assert!(!answer["answer"].as_str().unwrap().is_empty(), "{answer}");
    let first = &answer["citations"][0];
    assert!(
        first["path"]
            .as_str()
            .unwrap()
            .ends_with("papers/bridge.md"),
        "{answer}"
    );
    assert_eq!(
        first["heading_path"].as_array().unwrap().last().unwrap(),
        "Repairs",
        "{answer}"
    );
    let quote = first["quote"].as_str().unwrap();
    assert!(BRIDGE.contains(quote), "not the exact words: {quote}");
    // Which sentence is quoted depends on what the model wrote; the passage does not.
    let passage = first["passage"].as_str().unwrap();
    assert!(passage.contains("replaced in 1987"), "{answer}");

    // The citation opens the place that it names.
    let range = &first["range"];
    let reference = format!(
        "{}:{}-{}",
        first["document"].as_str().unwrap(),
        range["start"],
        range["end"]
    );
    let shown = laptop
        .run(["show", &reference, "--json"])
        .expect_success()
        .json();
    assert_eq!(shown["citation"]["quote"], first["quote"]);

    // The chat is kept, and a follow-up leans on it.
    let chat = answer["thread"].as_str().unwrap();
    let follow_up = laptop
        .run(["ask", "--json", "--chat", &chat[..12], "What did it cost?"])
        .expect_success()
        .json();
    assert!(
        follow_up["searched_for"].as_str().unwrap().contains("deck"),
        "{follow_up}"
    );
    let passages: String = follow_up["citations"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["passage"].as_str())
        .collect();
    assert!(passages.contains("412,000"), "{follow_up}");
    let kept = laptop
        .run(["chat", "--show", &chat[..12], "--json"])
        .expect_success()
        .json();
    assert_eq!(kept["messages"].as_array().unwrap().len(), 4, "{kept}");
}

#[test]
fn what_the_documents_do_not_hold_is_refused_before_anything_is_generated() {
    let laptop = with_papers();
    laptop.run(["import", "papers"]).expect_success();
    for question in [
        "Who won the football world cup in 1990?",
        "What is the boiling point of mercury?",
    ] {
        let answer = laptop
            .run(["ask", "--json", question])
            .expect_success()
            .json();
        assert_eq!(answer["refused"], true, "{answer}");
        assert_eq!(answer["model"], serde_json::Value::Null, "{answer}");
    }
}

#[test]
fn every_kind_of_file_is_found_by_words_and_by_meaning() {
    let laptop = with_papers();
    laptop.run(["import", "papers"]).expect_success();
    for (query, mode, file) in [
        ("412,000 crowns", "lexical", "bridge.md"),
        ("cracked rye", "lexical", "bread.txt"),
        (
            "which antibiotic is he allergic to",
            "vector",
            "letter.html",
        ),
        (
            "how long does the loaf stay in the oven",
            "vector",
            "bread.txt",
        ),
        ("boiler 3400", "hybrid", "costs.csv"),
    ] {
        let found = laptop
            .run(["search", "--json", "--limit", "3", "--mode", mode, query])
            .expect_success()
            .json();
        assert!(
            found["hits"][0]["path"].as_str().unwrap().ends_with(file),
            "{mode} {query}: {found}"
        );
    }
    let script = laptop
        .run(["search", "--json", "--mode", "lexical", "alert"])
        .expect_success()
        .json();
    assert_eq!(
        script["hits"].as_array().unwrap().len(),
        0,
        "scripts are not text: {script}"
    );
}

#[test]
fn importing_again_brings_in_what_changed_and_nothing_else() {
    let laptop = with_papers();
    laptop.run(["import", "papers"]).expect_success();
    let again = laptop
        .run(["import", "papers", "--json"])
        .expect_success()
        .json();
    assert_eq!(
        (&again["added"], &again["unchanged"]),
        (&0.into(), &4.into()),
        "{again}"
    );

    let bread = laptop.write(
        "papers/kitchen/bread.txt",
        RECIPE.replace("95 minutes", "105 minutes"),
    );
    // A change within the same millisecond cannot be told from none by any program.
    std::fs::File::open(&bread)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(2))
        .unwrap();
    laptop.write("papers/copy-of-bridge.md", BRIDGE);
    std::fs::remove_file(laptop.home().join("papers/costs.csv")).unwrap();
    let changed = laptop
        .run(["import", "papers", "--json"])
        .expect_success()
        .json();
    assert_eq!(changed["updated"], 1, "{changed}");
    assert_eq!(changed["duplicates"], 1, "{changed}");
    assert_eq!(changed["missing"], 1, "{changed}");
    let hit = laptop.first_hit("lexical", "105 minutes");
    assert!(
        hit["quote"].as_str().unwrap().contains("105 minutes"),
        "{hit}"
    );

    let pruned = laptop
        .run(["import", "--prune", "papers", "--json"])
        .expect_success()
        .json();
    assert_eq!(pruned["removed"], 1, "{pruned}");
    assert_eq!(pruned["coverage"]["documents"], 3, "{pruned}");
}

#[test]
fn a_deleted_index_comes_back_by_itself() {
    let laptop = with_papers();
    laptop.run(["import", "papers"]).expect_success();
    std::fs::remove_dir_all(laptop.data_dir().join("index")).unwrap();
    let found = laptop
        .run(["search", "--json", "cracked rye"])
        .expect_success()
        .json();
    assert!(
        found["hits"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("bread.txt"),
        "{found}"
    );
    let rebuilt = laptop.run(["index", "--json"]).expect_success().json();
    assert_eq!(
        rebuilt["coverage"]["passages"], rebuilt["coverage"]["embedded"],
        "{rebuilt}"
    );
}

#[test]
fn without_models_words_are_found_and_a_question_says_what_is_missing() {
    let laptop = Laptop::new();
    laptop.write("papers/bridge.md", BRIDGE);
    laptop.run(["import", "papers"]).expect_success();
    let found = laptop
        .run(["search", "--json", "steel grating"])
        .expect_success()
        .json();
    assert_eq!(found["mode"], "lexical", "{found}");
    assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");
    let asked = laptop
        .run(["ask", "What was the wooden deck of the bridge replaced by?"])
        .expect_code(3);
    assert!(asked.stderr.contains("models import"), "{}", asked.stderr);
}
