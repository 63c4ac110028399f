"""Extensions and user data of documents."""
