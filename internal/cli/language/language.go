// Package language chooses between the languages in which Sinawi speaks to
// people: English and Korean. Texts stand where they are used, both languages
// side by side, so that neither is forgotten when one changes. What programs
// read (JSON, YAML, names, API objects) is never translated.
package language

import "strings"

// Language is one of those that texts are written in.
type Language string

// The languages.
const (
	English Language = "en"
	Korean  Language = "ko"
)

// Text is the same sentence in every language.
type Text struct{ EN, KO string }

// In returns the text in a language; English where the translation is missing.
func (t Text) In(l Language) string {
	if l == Korean && t.KO != "" {
		return t.KO
	}
	return t.EN
}

// FromEnvironment returns the language that the locale asks for, by the
// variables of locale(7) in their order.
func FromEnvironment(getenv func(string) string) Language {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if value := getenv(name); value != "" {
			if strings.HasPrefix(strings.ToLower(value), "ko") {
				return Korean
			}
			return English
		}
	}
	return English
}
