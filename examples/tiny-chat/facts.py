"""The facts tiny-chat is trained on. Plain tables; phrasings.py holds the words around them."""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Denmark": "Copenhagen",
    "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Iceland": "Reykjavik", "Ireland": "Dublin",
    "the United Kingdom": "London", "Poland": "Warsaw", "Hungary": "Budapest", "Greece": "Athens",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Croatia": "Zagreb", "Serbia": "Belgrade", "Slovenia": "Ljubljana",
    "Estonia": "Tallinn", "Latvia": "Riga", "Lithuania": "Vilnius", "Ukraine": "Kyiv", "Russia": "Moscow",
    "Turkey": "Ankara", "Egypt": "Cairo", "Morocco": "Rabat", "Tunisia": "Tunis", "Kenya": "Nairobi",
    "Ethiopia": "Addis Ababa", "Ghana": "Accra", "Nigeria": "Abuja", "Senegal": "Dakar", "Uganda": "Kampala",
    "Rwanda": "Kigali", "Angola": "Luanda", "Zambia": "Lusaka", "Japan": "Tokyo", "China": "Beijing",
    "South Korea": "Seoul", "India": "New Delhi", "Nepal": "Kathmandu", "Thailand": "Bangkok", "Vietnam": "Hanoi",
    "Indonesia": "Jakarta", "Malaysia": "Kuala Lumpur", "the Philippines": "Manila", "Mongolia": "Ulaanbaatar",
    "Iran": "Tehran", "Iraq": "Baghdad", "Jordan": "Amman", "Lebanon": "Beirut", "Canada": "Ottawa",
    "the United States": "Washington", "Mexico": "Mexico City", "Cuba": "Havana", "Jamaica": "Kingston",
    "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Chile": "Santiago", "Peru": "Lima", "Colombia": "Bogota",
    "Ecuador": "Quito", "Venezuela": "Caracas", "Uruguay": "Montevideo", "Australia": "Canberra",
    "New Zealand": "Wellington", "Fiji": "Suva",
}

UNKNOWN_PLACES = [
    "Atlantis", "Narnia", "the Moon", "Mars", "Wonderland", "Neverland", "Oz", "Utopia", "Jupiter", "Camelot",
    "the ocean", "El Dorado", "Lilliput", "Saturn", "Avalon",
]

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]

MONTH_DAYS = [31, None, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

COLOURS = {
    "grass": "green", "the sky": "blue", "snow": "white", "coal": "black", "blood": "red", "a banana": "yellow",
    "a lemon": "yellow", "a carrot": "orange", "a tomato": "red", "a strawberry": "red", "chocolate": "brown",
    "milk": "white", "the sun": "yellow", "a cucumber": "green", "a crow": "black", "a flamingo": "pink",
    "an elephant": "grey", "an aubergine": "purple", "salt": "white", "a frog": "green", "a pumpkin": "orange",
    "the sea": "blue", "a pea": "green", "coffee": "brown", "a swan": "white", "a cherry": "red",
    "lavender": "purple", "a pig": "pink", "honey": "golden", "ash": "grey", "the night": "black", "a plum": "purple",
}

_OPPOSITE_PAIRS = [
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("day", "night"), ("black", "white"),
    ("happy", "sad"), ("fast", "slow"), ("old", "young"), ("open", "closed"), ("full", "empty"), ("hard", "soft"),
    ("light", "dark"), ("high", "low"), ("loud", "quiet"), ("wet", "dry"), ("rich", "poor"), ("strong", "weak"),
    ("early", "late"), ("near", "far"), ("clean", "dirty"), ("good", "bad"), ("true", "false"), ("first", "last"),
    ("inside", "outside"), ("long", "short"), ("thick", "thin"), ("wide", "narrow"), ("easy", "difficult"),
    ("always", "never"), ("win", "lose"), ("buy", "sell"), ("push", "pull"), ("begin", "end"), ("sharp", "blunt"),
    ("sweet", "bitter"),
]

OPPOSITES = {a: b for pair in _OPPOSITE_PAIRS for a, b in (pair, pair[::-1])}

SPELLINGS = [
    "cat", "dog", "house", "tree", "apple", "bread", "water", "garden", "river", "table", "chair", "window", "school",
    "flower", "friend", "music", "summer", "winter", "bird", "horse", "mouse", "green", "yellow", "orange", "letter",
    "number", "paper", "pencil", "kitchen", "market", "bridge", "castle", "island", "mountain", "forest", "cloud",
    "rain", "snow", "star", "moon", "sun", "earth", "fire", "stone", "road", "train", "ship", "book", "hand", "heart",
    "milk", "sugar", "lemon", "tiger", "lion", "zebra", "fish", "sheep", "queen", "king", "doctor", "teacher",
    "people", "world", "yarn", "skein",
]

NAMES = [
    "Ada", "Alan", "Alice", "Amir", "Ana", "Anna", "Ben", "Bob", "Carla", "Carlos", "Chen", "Clara", "Dan", "David",
    "Diana", "Elena", "Emma", "Eric", "Eva", "Fatima", "Felix", "Finn", "Grace", "Hana", "Hans", "Hugo", "Ida", "Igor",
    "Ines", "Ivan", "Jack", "Jana", "Jin", "Jonas", "Julia", "Karim", "Kate", "Lars", "Laura", "Leo", "Lena", "Lily",
    "Lin", "Lucas", "Lucy", "Maria", "Marta", "Max", "Maya", "Mia", "Mina", "Nadia", "Nina", "Noah", "Nora", "Omar",
    "Oscar", "Otto", "Paul", "Peter", "Petra", "Priya", "Rosa", "Ruth", "Sam", "Sara", "Sofia", "Sven", "Tara", "Tom",
    "Uma", "Vera", "Victor", "Wei", "Yuki", "Zara", "Zoe",
]

LARGEST_TERM = 20
"""Sums and differences are trained for terms from 0 to this number."""

LARGEST_COUNT = 200
"""Counting is trained inside 0 to this number, at most 100 numbers at a time."""
