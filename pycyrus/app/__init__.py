"""The server as a whole: joins the parts, and alone knows them all."""
