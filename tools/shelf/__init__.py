"""The book on other shelves: a PDF, an EPUB, and Markdown for programs that read; made from the built pages."""
