"""The built-in tools: files, HTTP, SQL, programs, text. An executor process of their own serves them."""
