"""Extensions of Sphinx that the book needs; `_config.yml` names them."""
