"""The drawings of the chapters: one module a chapter, of its name, made of the marks of `attnlib.book.draw`."""
