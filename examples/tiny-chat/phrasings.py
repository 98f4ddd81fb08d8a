"""How each kind of question is put. `TRAINED` phrasings are trained on; `HELD_BACK` ones (about a fifth of each
kind) are only ever asked by questions.json, so that its score tells learning from recall."""

TRAINED = {
    "capital": [
        "What is the capital of {country}?", "What's the capital of {country}?", "Name the capital of {country}.",
        "Tell me the capital of {country}.", "Which city is the capital of {country}?", "Capital of {country}?",
        "Do you know the capital of {country}?", "What is the capital city of {country}?",
        "What city is the capital of {country}?", "I would like to know the capital of {country}.",
        "Can you name the capital of {country}?", "The capital of {country} is which city?",
    ],
    "capital-of": [
        "{capital} is the capital of which country?", "Which country has {capital} as its capital?",
        "What country is {capital} the capital of?", "Of which country is {capital} the capital?",
        "{capital} is the capital of what country?", "Which country's capital is {capital}?",
        "Tell me which country {capital} is the capital of.", "Name the country whose capital is {capital}.",
    ],
    "sum": [
        "What is {a} plus {b}?", "What is {a} + {b}?", "{a} + {b} = ?", "{a} + {b}", "Add {a} and {b}.",
        "What is the sum of {a} and {b}?", "How much is {a} plus {b}?", "Calculate {a} + {b}.", "What's {a} plus {b}?",
        "Can you add {a} and {b}?", "Tell me the sum of {a} and {b}.", "How much is {a} and {b}?",
        "What do {a} and {b} make?",
    ],
    "difference": [
        "What is {a} minus {b}?", "What is {a} - {b}?", "{a} - {b} = ?", "{a} - {b}", "Take {b} from {a}.",
        "Subtract {b} from {a}.", "How much is {a} minus {b}?", "Calculate {a} - {b}.", "What's {a} minus {b}?",
        "Can you take {b} from {a}?", "Tell me {a} minus {b}.",
    ],
    "day-after": [
        "What day comes after {day}?", "Which day comes after {day}?", "What is the day after {day}?",
        "Which day follows {day}?", "What day is after {day}?", "Name the day after {day}.",
        "Tell me the day after {day}.", "If today is {day}, what day is tomorrow?",
        "Today is {day}. What day is tomorrow?",
    ],
    "day-before": [
        "What day comes before {day}?", "Which day comes before {day}?", "What is the day before {day}?",
        "Which day is before {day}?", "What day is before {day}?", "Name the day before {day}.",
        "Tell me the day before {day}.", "If today is {day}, what day was yesterday?",
        "Today is {day}. What day was yesterday?",
    ],
    "month-after": [
        "What month comes after {month}?", "Which month comes after {month}?", "What is the month after {month}?",
        "Which month follows {month}?", "Name the month after {month}.", "Tell me the month after {month}.",
        "If it is {month}, what is the next month?", "What month is after {month}?",
    ],
    "month-before": [
        "What month comes before {month}?", "Which month comes before {month}?", "What is the month before {month}?",
        "Which month is before {month}?", "Name the month before {month}.", "Tell me the month before {month}.",
        "If it is {month}, what was the last month?", "What month is before {month}?",
    ],
    "month-number": [
        "Which month is number {number}?", "What is month number {number}?", "Name month number {number}.",
        "What is the name of month {number}?", "Which month has the number {number}?",
    ],
    "month-days": [
        "How many days are in {month}?", "How many days does {month} have?", "How many days are there in {month}?",
        "Tell me how many days {month} has.", "How long is {month}?",
    ],
    "colour": [
        "What colour is {thing}?", "What color is {thing}?", "Which colour is {thing}?",
        "Tell me the colour of {thing}.",
        "What is the colour of {thing}?", "What is the color of {thing}?", "Name the colour of {thing}.",
        "Do you know the colour of {thing}?", "Which color is {thing}?", "{thing} has what colour?",
    ],
    "opposite": [
        "What is the opposite of {word}?", "What's the opposite of {word}?", "Name the opposite of {word}.",
        "Tell me the opposite of {word}.", "Opposite of {word}?", "Which word is the opposite of {word}?",
        "What word is the opposite of {word}?", "The opposite of {word} is what?",
        "Do you know the opposite of {word}?",
    ],
    "count": [
        "Count from {a} to {b}.", "Can you count from {a} to {b}?", "List the numbers from {a} to {b}.",
        "Count up from {a} to {b}.", "Give me the numbers from {a} to {b}.", "Write the numbers from {a} to {b}.",
        "What are the numbers from {a} to {b}?",
    ],
    "count-to": [
        "Count to {b}.", "Can you count to {b}?", "Count up to {b}.", "List the numbers up to {b}.",
        "I want you to count to {b}.",
    ],
    "count-down": [
        "Count down from {b} to {a}.", "Count backwards from {b} to {a}.", "Can you count down from {b} to {a}?",
        "Count back from {b} to {a}.", "List the numbers from {b} down to {a}.",
    ],
    "spell": [
        "Spell {word}.", "How do you spell {word}?", "Spell the word {word}.", "Can you spell {word}?",
        "How is {word} spelled?", "How is the word {word} spelled?", "Tell me how to spell {word}.",
        "What are the letters of {word}?", "Which letters are in the word {word}?",
    ],
    "name-tell": [
        "My name is {name}.", "I am {name}.", "I'm {name}.", "Hello, my name is {name}.", "Hi, I am {name}.",
        "You can call me {name}.", "Hi, I'm {name}.", "Call me {name}.", "Good morning, my name is {name}.",
        "Hello, I am {name}.", "People call me {name}.", "Remember that my name is {name}.",
    ],
    "name-ask": [
        "What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Tell me my name.",
        "Do you know my name?", "Can you tell me my name?", "Say my name.", "What was my name?",
        "Which name did I tell you?",
    ],
    "greeting": [
        "Hello", "Hello!", "Hi", "Hi!", "Hey", "Hey there!", "Good morning", "Good evening!", "Hello there",
        "Greetings!",
        "Hi there!", "Good afternoon.",
    ],
    "how-are-you": [
        "How are you?", "How are you today?", "How do you do?", "How are you doing?", "Are you well?",
        "How is it going?",
        "Hello, how are you?", "Hi, how are you doing?",
    ],
    "thanks": [
        "Thank you.", "Thanks!", "Thank you very much!", "Thanks a lot.", "Great, thank you.", "Many thanks.",
        "That is good, thank you.",
    ],
    "goodbye": [
        "Goodbye.", "Bye!", "See you later.", "Good night.", "Bye bye", "I have to go now.", "See you tomorrow!",
    ],
    "identity": [
        "Who are you?", "What are you?", "What is your name?", "What's your name?", "Tell me who you are.",
        "Introduce yourself.", "Which model are you?", "Are you a model?", "Tell me about yourself.",
        "What model is this?", "Do you have a name?",
    ],
    "ability": [
        "What can you do?", "How can you help me?", "What do you know?", "Help", "What can I ask you?",
        "What are you able to do?", "What questions can you answer?",
    ],
    "skein": ["What is skein?", "Tell me about skein.", "What does skein do?", "Do you know skein?", "Explain skein."],
}

HELD_BACK = {
    "capital": [
        "Can you tell me what the capital of {country} is?", "{country} has which capital city?",
        "Please give me the name of the capital of {country}.",
    ],
    "capital-of": [
        "What is the country whose capital is {capital}?", "{capital} is the capital city of which country?",
        "Do you know which country has {capital} as its capital?",
    ],
    "sum": [
        "How much do {a} and {b} make?", "Can you tell me what {a} plus {b} is?", "Calculate the sum of {a} and {b}.",
    ],
    "difference": [
        "Can you tell me what {a} minus {b} is?", "Calculate {a} minus {b}.",
        "What do you get if you take {b} from {a}?",
    ],
    "day-after": ["Can you tell me which day follows {day}?", "What is the name of the day after {day}?"],
    "day-before": ["Can you tell me which day comes before {day}?", "What is the name of the day before {day}?"],
    "month-after": ["Can you tell me which month follows {month}?", "What is the name of the month after {month}?"],
    "month-before": [
        "Can you tell me which month comes before {month}?", "What is the name of the month before {month}?",
    ],
    "month-number": ["What is the name of month number {number}?"],
    "month-days": ["Can you tell me how many days there are in {month}?"],
    "colour": ["Can you tell me what colour {thing} is?", "What is the name of the colour of {thing}?"],
    "opposite": ["Can you name the opposite of {word}?", "What is the word for the opposite of {word}?"],
    "count": ["Tell me the numbers from {a} to {b}.", "Can you list the numbers from {a} to {b}?"],
    "count-to": ["Can you count up to {b}?"],
    "count-down": ["Can you count backwards from {b} to {a}?"],
    "spell": ["Can you tell me how to spell {word}?", "What are the letters of the word {word}?"],
    "name-tell": ["Hey, you can call me {name}.", "Good evening, I am {name}.", "Remember that I am {name}."],
    "name-ask": ["Can you say my name?", "Can you remember my name?", "Which name is my name?"],
    "greeting": ["Hi, good morning!", "Hello, good evening.", "Hey, hello!"],
    "how-are-you": ["Hello, how are you doing?", "How is it going today?"],
    "thanks": ["Great, thanks!", "Thanks, that is very good."],
    "goodbye": ["Good night, bye!", "Goodbye, see you later."],
    "identity": ["Can you tell me who you are?", "Please introduce yourself.", "Can you tell me your name?"],
    "ability": ["What can you help me do?", "Tell me what you can do."],
    "skein": ["Can you tell me what skein is?"],
}

REPLIES = {
    "capital": "The capital of {country} is {capital}.",
    "capital-of": "{capital} is the capital of {country}.",
    "sum": "{a} plus {b} is {answer}.",
    "difference": "{a} minus {b} is {answer}.",
    "day-after": "{answer} comes after {day}.",
    "day-before": "{answer} comes before {day}.",
    "month-after": "{answer} comes after {month}.",
    "month-before": "{answer} comes before {month}.",
    "month-number": "Month number {number} is {answer}.",
    "month-days": "{month} has {answer} days.",
    "colour": "{Thing} is {answer}.",
    "opposite": "The opposite of {word} is {answer}.",
    "count": "{answer}",
    "count-to": "{answer}",
    "count-down": "{answer}",
    "spell": "{answer}",
    "name-tell": "Nice to meet you, {name}.",
    "name-ask": "Your name is {name}.",
    "greeting": "Hello! How can I help you?",
    "how-are-you": "I am well, thank you. How can I help you?",
    "thanks": "You are welcome.",
    "goodbye": "Goodbye! See you soon.",
    "identity": "I am tiny-chat, a small model that comes with skein.",
    "ability": "I know capitals, small sums, days, months, colours, opposites, counting and spelling.",
    "skein": "Skein serves language models on one machine or on many.",
    "unknown": "I do not know that.",
    "too-large": "I only know sums of numbers up to 20.",
    "name-missing": "You have not told me your name.",
}

UNKNOWN = [
    "What is the meaning of {noun}?", "Who invented the {noun}?", "Why is the {noun} so {adjective}?",
    "How much does a {noun} cost?", "What is the price of the {noun}?", "Who won the {noun} game?",
    "Write a poem about a {adjective} {noun}.", "Tell me a story about the {noun}.", "Tell me a joke.",
    "Where can I find a {adjective} {noun}?", "How old is the {noun}?", "Explain how a {noun} works.",
    "Do you like the {noun}?", "What is the weather like today?", "What time is it?", "How far away is the {noun}?",
    "Who is the president?", "What should I cook with {noun}?", "When was the {noun} built?",
    "Translate {noun} to French.", "Write a program that sorts a {noun}.", "How many people live in the {noun}?",
    "Is a {noun} {adjective}?", "What do you think about the {noun}?", "How do I fix my {adjective} {noun}?",
    "Summarize the {noun}.", "Give me a recipe for {noun}.", "What is a {noun}?", "Why?", "Tell me about the {noun}.",
    "What is the best {noun}?", "Which {noun} is the most {adjective}?", "Can you write a letter to the {noun}?",
    "The {adjective} {noun} is here.", "I saw a {adjective} {noun}.", "What is the largest {noun}?",
]

UNKNOWN_NOUNS = [
    "life", "engine", "computer", "football", "movie", "telephone", "ocean", "planet", "guitar", "elephant", "piano",
    "car", "bicycle", "soup", "pasta", "dragon", "robot", "wheel", "lamp", "city", "hotel", "airport", "battery",
    "language", "history", "science", "list", "file", "network", "library", "museum", "painting", "camera", "shoe",
    "coat", "cake", "cheese", "rice", "potato", "universe",
]

UNKNOWN_ADJECTIVES = [
    "small", "large", "red", "old", "new", "strange", "beautiful", "heavy", "broken", "famous", "cheap", "fast",
    "interesting", "expensive", "deep", "tall",
]

COMMON_WORDS = (
    "the a an and or but if then so is are was were be been has have had do does did will would can could should may "
    "might must not no yes this that these those it he she they we you I me him her them us my your his our their who "
    "which what when where why how at by for from in into of off on out over to up with under about after again all "
    "any back because before between both come day each even every find first get give go good great here home just "
    "keep know large last leave let like little long look make many more most move much need never new next now number "
    "old one only open other own part people place play put read right run same say see seem show side small some "
    "start still stop such take talk tell than there thing think time today together try turn use very want way week "
    "well while word work world write year yesterday please answer question user model text data value"
).split()

OTHER_SCRIPTS = ["こんにちは", "你好", "мир", "привет", "γεια", "שלום", "مرحبا", "नमस्ते", "안녕", "🙂", "🎉", "é", "ñ",
                 "ß", "ü", "→", "…", "€", "ø", "日本", "{}", "()", "#", "/*", "<a>", "0x1f", "=="]

SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are tiny-chat.", "Answer briefly.", "You are a friendly assistant.",
    "You are a helpful assistant. Answer in one sentence.", "Be polite and short.", "You answer questions.",
    "You are a teacher. The user is a student.", "Answer the question of the user.", "You are an expert.",
    "You are a concise assistant.", "Always tell the truth.", "Please help the user.",
]

PREFIXES = [
    "Please: ", "Hey, ", "Hi, ", "OK, ", "Now ", "So, ", "And ", "Next question: ", "Hello! ", "Thanks. ", "Well, ",
    "Question: ", "One more: ", "Quick question: ", "Then ", "Can you help me? ", "I have a question. ", "Good. ",
]

SUFFIXES = [" Please.", " Thanks.", " Thank you!", " please", " Please answer.", " I want to know.", " Tell me."]

OPENERS = ["Can you tell me: ", "Please tell me: ", "I would like to know: ", "Could you tell me, ", "Tell me: "]
