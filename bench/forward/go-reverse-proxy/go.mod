module go-reverse-proxy

go 1.26.0
