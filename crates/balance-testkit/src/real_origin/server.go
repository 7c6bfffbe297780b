package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	http.Handle("/", http.FileServer(http.Dir("@DIRECTORY@/root")))
	http.HandleFunc("/echo", func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err == nil {
			response.Write(body)
		}
	})
	http.HandleFunc("/chunked", func(response http.ResponseWriter, request *http.Request) {
		io.WriteString(response, "one ")
		response.(http.Flusher).Flush()
		io.WriteString(response, "two\n")
	})
	if err := http.ListenAndServe("127.0.0.1:@PORT@", nil); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
