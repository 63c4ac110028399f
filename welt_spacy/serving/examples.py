"""Example texts for the page of a served pipeline."""

EXAMPLES: list[dict[str, str]] = [
    {
        "name": "Drugs and side effects",
        "text": "Acute liver failure after paracetamol in a patient on carbamazepine. A 54-year-old "
        "woman with epilepsy, treated with carbamazepine for ten years, took 6 g of paracetamol a "
        "day for a toothache. After four days she had jaundice and encephalopathy. N-acetylcysteine "
        "was given at once, and her hepatic function recovered within two weeks. Induction of CYP2E1 "
        "by carbamazepine may lower the dose of paracetamol that is toxic.",
    },
    {
        "name": "Genes and inherited disease",
        "text": "Variants of BRCA2 in families with pancreatic cancer. We sequenced BRCA1, BRCA2 and "
        "PALB2 in 120 families with two or more cases of pancreatic cancer. Eleven families had a "
        "truncating variant of BRCA2, two of PALB2, and none of BRCA1. Breast cancer was frequent in "
        "carriers, while colorectal cancer was not. Screening for diabetes mellitus of recent onset "
        "is proposed for carriers above 50 years of age.",
    },
    {
        "name": "Animals and infection",
        "text": "Chloroquine resistance of Plasmodium vivax in mice is not what it seems. Mice "
        "infected with Plasmodium berghei were given chloroquine, artesunate, or both. Parasitaemia "
        "fell with artesunate alone; anaemia was worse with both drugs. In rhesus monkeys we saw no "
        "such interaction. Data from rodents should not be taken as evidence for malaria in humans.",
    },
]
