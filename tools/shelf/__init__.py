"""The book on other shelves: one PDF, one EPUB, and Markdown for programs that read. All made from the built pages."""
