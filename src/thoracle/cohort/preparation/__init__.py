"""What `prepare` needs beside layouts and cache: options applied, what stands of earlier runs, visits, charts, names looked up."""
