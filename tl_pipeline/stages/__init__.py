"""Where the parts meet: extract, train, predict, and the pipeline of all of them."""
