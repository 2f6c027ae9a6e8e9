"""The tools of the research workflow: search, extract text, analyse sentiment, summarise; all of them offline."""
