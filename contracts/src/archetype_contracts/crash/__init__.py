"""What a store promises when its process is killed, its disk fails or the power goes, and the machinery that makes it so."""
