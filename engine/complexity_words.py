"""The words that `complexity` and `task` look for: ONE table, by what they are a sign of.

Words stand in lower case, one plural `s` left out; a word counts for the first row that has it.
`PHRASES` are looked for in scripts that do not separate words by blanks.
Over 300 lines would be no defect: it is a table.
"""

# ruff: noqa: RUF001, E501 (letters of other scripts; a row is as long as it is)

from collections.abc import Mapping
from types import MappingProxyType

_ROWS = (
    (
        "effort",
        "prove derive disprove implement refactor architect debug optimize optimise redesign "
        "formalize formalise rewrite migrate parallelize critique "
        "beweise beweisen implementiere entwirf démontrer démontre implémente conçois demuestra "
        "demostrar implementa diseña dimostra progetta demonstre implemente projete докажи "
        "докажите реализуй kanıtla",
    ),
    (
        "math",
        "proof theorem lemma corollary polynomial integral derivative derivation eigenvalue "
        "eigenvector matrix matrices determinant vector scalar isomorphism isomorphic homomorphism "
        "abelian subgroup subring ring permutation combinatoric probability bayesian stochastic "
        "variance covariance regression logarithm exponential exponent cosine sine tangent "
        "hyperbola parabola ellipse triangle perimeter radius circumference diameter quadratic "
        "cubic differential equation inequality modulo congruent divisible divisor remainder prime "
        "integer factorial fraction denominator numerator sqrt sum product calculate compute solve "
        "solution converge convergence divergence limit infinity infinite finite bijective "
        "injective surjective continuous differentiable topology topological manifold axiom "
        "quantifier predicate tautology wff premise proposition syllogism antecedent consequent "
        "formula logic logical total average ratio twice half remaining altogether group field order "
        "element subset graph root degree basis rank kernel cyclic commutative identity zero "
        "statement true triangular modulus digit cardinality invertible odd even multiple "
        # German, French, Spanish, Italian, Portuguese
        "beweise beweis gleichung wahrscheinlichkeit ableitung berechne berechnen löse "
        "démontrer démontre équation probabilité dérivée intégrale calculer calculez résoudre "
        "demuestra demostrar ecuación probabilidad derivada calcula calcular resuelve resolver "
        "dimostra equazione probabilità derivata calcola risolvi "
        "prove equação probabilidade calcule resolva",
    ),
    (
        "science",
        "quantum photon electron proton neutron nucleus isotope wavelength frequency velocity "
        "acceleration momentum torque thermodynamic entropy enthalpy equilibrium molar mole ph "
        "oxidation ion ionic covalent orbital catalyst titration magnetic electric voltage ohm "
        "capacitor capacitance inductance resistor resistance impedance circuit transistor diode "
        "amplifier semiconductor flux relativistic joule newton hertz hz khz mhz ghz kg cm nm volt "
        "watt kelvin celsius spectrum spectroscopy nmr genome allele chromosome mutation enzyme "
        "receptor pathology differential diagnosis syndrome etiology pharmacology dosage mg "
        "energiesatz frequenz geschwindigkeit énergie vitesse energía velocidad",
    ),
    (
        "law",
        "plaintiff defendant statute statutory tort negligence liable liability damages contract "
        "contractual breach clause jurisdiction court judge jury appeal appellate constitutional "
        "constitutionality amendment testimony testify hearsay admissible inadmissible evidence "
        "felony homicide manslaughter larceny burglary robbery assault prosecution prosecutor "
        "indictment easement grantor grantee deed conveyance mortgage landlord tenant estate "
        "trustee beneficiary executor probate injunction summary motion counterclaim attorney "
        "counsel rebuttal verdict acquitted convicted fiduciary "
        "kläger beklagte haftung vertrag gericht tribunal contrat demandeur demandado contrato",
    ),
    (
        "code",
        "algorithm asymptotic recursion recursive refactor debug bug traceback exception segfault "
        "compile compiler runtime async await mutex deadlock concurrency concurrent thread "
        "goroutine pointer malloc regex sql query join index schema migration kubernetes docker "
        "terraform api endpoint http rest graphql websocket unit pytest typescript javascript "
        "python rust golang java kotlin haskell scala bash css html react vue django flask "
        "function class method variable array hashmap dataframe pandas numpy tensor gradient "
        "backpropagation latency throughput distributed consensus sharding replication cache "
        "funktion klasse fehler fonction classe erreur función clase",
    ),
    (
        "reason",
        "why explain justify derive analyze analyse evaluate assess compare contrast critique "
        "trade tradeoff implication consequence argue argument hypothesis hypothesize infer "
        "deduce reason reasoning step optimize optimise optimal design architect architecture "
        "strategy plan plausible counterexample contradiction assume suppose given therefore hence "
        "whether unless otherwise although however necessarily sufficient necessary follow "
        "warum erkläre erklären begründe analysiere vergleiche bewerte entwirf optimiere "
        "pourquoi expliquer explique justifie analyse compare évalue conçois "
        "explica analiza compara evalúa diseña justifica optimiza "
        "perché spiega analizza confronta valuta progetta "
        "explique analise avalie projete почему объясни объясните докажи докажите сравни "
        "проанализируй оцени neden açıkla karşılaştır analiz",
    ),
    (
        "constraint",
        "must should exactly only without except at least most between ensure require requirement "
        "constraint avoid never always not include exclude limit maximum minimum respectively "
        "muss müssen genau nur ohne außer mindestens höchstens stelle sicher "
        "doit doivent exactement seulement sans sauf moins plus debe deben exactamente solo sin "
        "excepto deve devono esattamente soltanto senza apenas sem должен только без кроме",
    ),
    (
        "easy",
        "hi hello hey thank thanks please bye okay translate translation spell synonym rhyme joke "
        "greeting "
        "hallo danke bitte übersetze bonjour merci traduire traduis hola gracias traduce ciao "
        "grazie traduci olá obrigado traduza привет спасибо переведи merhaba teşekkürler",
    ),
)  # fmt: skip

# By category, as `WORDS`; scripts without blanks between words.
PHRASES = (
    ("effort", ("证明", "实现", "設計", "设计", "証明", "実装", "증명", "구현")),
    ("math", ("根号", "方程", "概率", "积分", "导数", "计算", "証明", "方程式", "確率", "증명")),
    ("code", ("代码", "函数", "算法", "コード", "関数", "アルゴリズム", "코드", "함수")),
    ("reason", ("为什么", "解释", "分析", "比较", "なぜ", "説明", "比較", "설명", "비교")),
    ("constraint", ("必须", "只能", "至少", "最多", "ただし", "必ず", "반드시")),
    ("easy", ("你好", "谢谢", "翻译", "こんにちは", "ありがとう", "翻訳", "안녕", "번역")),
)

CATEGORIES = tuple(name for name, _ in _ROWS)


def _by_word() -> Mapping[str, int]:
    words: dict[str, int] = {}
    for index, (_, text) in enumerate(_ROWS):
        for word in text.split():
            words.setdefault(word, index)
    return MappingProxyType(words)


WORDS = _by_word()  # a word -> its place in CATEGORIES
