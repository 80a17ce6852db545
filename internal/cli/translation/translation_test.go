package translation

import "testing"

func TestIsKubectl(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{[]string{"/usr/bin/sinawi", "server"}, false},
		{[]string{"/usr/bin/sinawi", "--data-dir", "/x", "kubectl", "get", "pods"}, true},
		{[]string{"/usr/local/bin/kubectl", "get"}, true},
		{[]string{"sinawi", "logs", "web"}, true},
		{nil, false},
	} {
		if got := isKubectl(tt.args); got != tt.want {
			t.Errorf("isKubectl(%v) = %v", tt.args, got)
		}
	}
}
