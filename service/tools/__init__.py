"""The built-in tools: reading and writing files, HTTP, SQL, programs, text. Served by an executor process of their own."""
