package language

import "testing"

func TestFromEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		want Language
	}{
		{"nothing set", nil, English},
		{"Korean", map[string]string{"LANG": "ko_KR.UTF-8"}, Korean},
		{"LC_ALL wins", map[string]string{"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}, English},
		{"another language", map[string]string{"LC_MESSAGES": "de_DE"}, English},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := FromEnvironment(func(k string) string { return tt.env[k] }); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestIn(t *testing.T) {
	both := Text{EN: "ready", KO: "준비됨"}
	if got := both.In(Korean); got != "준비됨" {
		t.Errorf("got %q", got)
	}
	if got := (Text{EN: "ready"}).In(Korean); got != "ready" {
		t.Errorf("got %q, want the English text", got)
	}
}
