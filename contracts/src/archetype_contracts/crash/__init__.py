"""What a store promises when its process is killed, its disk fails or the power is cut, and the code that causes this."""
