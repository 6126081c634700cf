"""What a diagnosis in words says of a tumour: the word lists, and how they are read.

Goes in: a question about what is abnormal in a picture, and its answer. Comes out: one of the four labels,
`OTHER_TUMOUR`, or `None` where the lists do not say. The lists are short on purpose: a word that is missing
costs a picture, and a word that is wrong teaches a fault.
"""

import re

from tumor_ds.sources.slices import NO_TUMOUR

OTHER_TUMOUR = "other_tumor"
# Patterns by kind, of lower-case text, each from the start of a word.
WORDS = {
    "glioma": (
        "gliomas?",
        "gliomatosis",
        "glioblastom[ae]s?",
        "gbm",
        "(xantho)?astrocytomas?",
        "oligodendrogliomas?",
        "oligoastrocytomas?",
    ),
    "meningioma": ("meningiomas?",),
    "pituitary": (
        "pituitary (micro|macro)?adenomas?",
        "(micro|macro)adenomas?",
        "pituitary apoplexy",
        "prolactinomas?",
        "hyperprolactinemia",
        "acromegaly",
    ),
    OTHER_TUMOUR: (
        "ependymomas?",
        "(medullo|neuro|pineo|hemangio)blastomas?",
        "(ganglio|paragangli|gangliogli)omas?",
        "glioneuronal",
        "gliofibroma",
        "(lipo)?neurocytomas?",
        "dysembryoplastic",
        "hamartomas?",
        "lhermitte",
        "choroid plexus (papilloma|carcinoma|neoplasm)",
        "craniopharyngiomas?",
        "rathke",
        "pineal cyst",
        "germinomas?",
        "teratoi?d|teratomas?",
        "(epi)?dermoid",
        "cholesterol granuloma",
        "lipomas?",
        "chordomas?",
        "schwannomas?",
        "hemangiopericytomas?",
        "fibrous dysplasia",
        "histiocytosis",
        "chloromas?",
        "leukemia",
        r"lymphoma\w*",
        r"\w*sarcomas?",
        r"\w*carcinoma\w*",
        "melanomas?",
        r"metasta\w+",
        "cancer",
        "tricholemmoma",
        "radiation necrosis",
    ),
    NO_TUMOUR: (
        "(cerebral |pontine |venous )?infarct(ion|s)?",
        "stroke",
        r"ischemi[ac]",
        "(venous|sinus) thrombosis",
        "embol(ism|ization)",
        "(subarachnoid )?hemorrhage",
        "hematoma",
        r"anoxi[ac]?",
        "carbon monoxide",
        "axonal injury",
        "hyperdense middle cerebral artery",
        r"aneurysm\w*",
        "arteriovenous|arterio-venous|avm|av fistulae?",
        "venous an(omaly|gioma)",
        "cavernous +(hem)?angioma|cavernous malformation|carotid-cavernous fistula",
        "moya-?moya",
        "dissection|dolichoectasia",
        r"vasculiti\w+|angiitis",
        "posterior reversible|pres",
        "abscess|empyema|cerebritis|encephalitis",
        r"toxoplasmosis|(neuro)?cysticercosis|cryptococc\w+",
        "(neuro)?sarcoid(osis)?",
        "(multiple|concentric|mesial temporal) sclerosis",
        "acute disseminated|adem",
        "neuromyelitis|optic neuritis",
        "marchiafava|leigh's|creutzfeldt-jakob|siderosis",
        "cephalocele|encephalocele|chiari|arnold-chiari|dandy-walker",
        "holoprosencephaly|schizencephaly|pachygyria|heterotopia",
        "septo-optic|cavum septi|sturge",
        "arachnoid cyst|perivascular spaces|hydrocephalus",
        "ectopic posterior pituitary",
        "normal",
    ),
}
_PATTERNS = {kind: re.compile(rf"\b(?:{'|'.join(words)})\b") for kind, words in WORDS.items()}
_CLEAN = {("normal", "yes"), ("abnormal", "no"), ("wrong", "no")}


def name_kind(question: str, answer: str) -> str | None:
    """Name what a picture shows by its question and answer, both in lower case.

    Returns:
        One of the four labels or `OTHER_TUMOUR`; None where the answer has no word of the lists, or words of
        two kinds, or says only that the picture is not normal.

    Example:
        >>> name_kind("what is abnormal in the mri?", "anaplastic ganglioglioma (who grade iii)")
        'other_tumor'
        >>> name_kind("is there an abnormality in the mri?", "no")
        'notumor'
        >>> name_kind("what is abnormal in the mri?", "abscess vs. glioblastoma")
    """
    if answer in ("yes", "no"):
        # `abnormal` holds `normal`: the longer word decides.
        asked = next((word for word in ("abnormal", "wrong", "normal") if word in question), "")
        return NO_TUMOUR if (asked, answer) in _CLEAN else None
    kinds = [kind for kind, pattern in _PATTERNS.items() if pattern.search(answer)]
    return kinds[0] if len(kinds) == 1 else None
